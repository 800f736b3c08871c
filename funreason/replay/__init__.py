"""What `refine --replay` needs: routing recorded verdicts under another configuration."""
