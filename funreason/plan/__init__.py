"""What `funreason plan` needs: a model's architecture, and the memory and time it will take."""
