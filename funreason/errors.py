"""The exceptions of this floor: what cannot be used as given, and a run that has nothing to learn from."""

from __future__ import annotations


class ModelError(Exception):
    """A model folder, tokenizer or prompt is unusable; the message says what was found and what to do."""


class BrokenWeights(ModelError):
    """Weights that give logits that are not finite: no answer can be drawn from them."""


class NothingToLearn(Exception):
    """A round trained nothing, and another one like it would not either; the message says why and what to change."""
