"""Sampling in this process from a transformers model."""
