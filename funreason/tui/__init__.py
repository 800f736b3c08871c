"""What a person sees. Reads the record and nothing else."""
