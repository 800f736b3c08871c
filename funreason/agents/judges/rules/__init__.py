"""The five stages judged by rules, and what their rules share."""
