"""The judges: five stages by rules, by language models or both; custom ones; and how judges are checked."""
