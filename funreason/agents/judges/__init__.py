"""The judges: the five stages by rules or language models, custom judges, and the canaries that test them."""
