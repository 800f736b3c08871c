"""Sampling in this process from a vLLM engine that takes new weights while it runs."""
