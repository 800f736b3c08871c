"""The five stages judged by rules, and the readers of words and numbers that their rules share."""
