"""What `refine --replay` needs: recorded verdicts under another configuration."""
