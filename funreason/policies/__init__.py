"""Policies: a model with its prompt style, over one of three samplers.

Heavy libraries are imported only inside the sampler that needs them.
"""
