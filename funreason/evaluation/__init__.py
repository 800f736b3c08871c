"""What `funreason eval` needs: loading a suite and getting a model's answers to it."""
