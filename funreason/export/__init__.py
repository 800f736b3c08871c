"""Exports of a run: the accepted model with a card, the kept samples as Parquet and for LLaMA-Factory."""
