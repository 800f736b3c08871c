"""Language models as judges: the prompts, the panel that votes, the parsing of replies and the verdict cache."""
