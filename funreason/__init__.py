"""FunReason: a language model that becomes a better function caller by judging and learning from its own calls.

Start at `funreason.loops.self_refinement`: it shows the order of things. Importing this package imports no torch.
"""

__version__ = "0.1.0"
