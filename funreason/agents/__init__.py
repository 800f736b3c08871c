"""The agents: each answers one message with outcomes. They never import each other."""
