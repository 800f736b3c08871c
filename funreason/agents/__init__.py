"""The agents: each answers one message with an outcome. They never import each other."""
