"""Policies: one protocol and three samplers. Heavy libraries are imported only inside their adapter."""
