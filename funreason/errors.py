"""The exceptions of this floor: a model, a tokenizer or a request that cannot be used as given."""

from __future__ import annotations


class ModelError(Exception):
    """A model folder, tokenizer or prompt is unusable; the message says what was found and what to do."""


class BrokenWeights(ModelError):
    """Weights that give logits that are not finite: no answer can be drawn from them."""
