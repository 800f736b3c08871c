"""What each command does, one file a noun; `cli` holds their options and nothing else."""
