"""Exports of a run: its model with a card, its refined data as Parquet and for LLaMA-Factory."""
