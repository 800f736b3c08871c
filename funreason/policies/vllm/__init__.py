"""Completions from a vLLM engine in this process."""
