"""The dashboard, in Textual. It reads the record and nothing else."""
