"""The stages judged by language models."""
