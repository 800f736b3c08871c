"""What `funreason plan` needs: what a model is made of, and what it will take."""
