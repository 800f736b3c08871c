"""Moves messages along the edges of a checked graph, and nothing else. Knows no agent by name."""
