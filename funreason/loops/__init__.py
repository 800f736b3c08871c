"""The loop: round.py shows the order of things."""
