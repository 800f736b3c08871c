"""Prompts, and samplers behind one small protocol. Heavy libraries are imported only inside their adapter."""
