"""What leaves a run for others: its model with a card, its refined data as Parquet and for LLaMA-Factory."""
