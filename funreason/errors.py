"""The exceptions of this floor: what cannot be used as given, and a run that has nothing to learn from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager


class ModelError(Exception):
    """A model folder, tokenizer or prompt is unusable; the message says what was found and what to do."""


class BrokenWeights(ModelError):
    """Weights that give logits that are not finite: no answer can be drawn from them."""


class NothingToLearn(Exception):
    """A round trained nothing, and another one like it would not either; the message says why and what to change."""


class MissingExtra(ModuleNotFoundError):
    """A package that one of the extras brings is not installed; the message says which extra to install."""


@contextmanager
def naming_extras() -> Iterator[None]:
    """Raise MissingExtra instead of a ModuleNotFoundError for a package that an extra brings."""
    try:
        yield
    except ModuleNotFoundError as error:
        sentence = missing_extra(error)
        if sentence is None or isinstance(error, MissingExtra):
            raise
        raise MissingExtra(sentence, name=error.name) from None


def missing_extra(error: ModuleNotFoundError) -> str | None:
    """What to install for a package that one of the extras brings; None for any other module.

    The extras are those of the installed metadata. Where several bring the package, the first in pyproject.toml counts.
    """
    from importlib import metadata  # here: reading installed metadata is slow to load, and rarely needed

    try:
        requirements = metadata.requires("funreason") or []
    except metadata.PackageNotFoundError:  # run from a folder, never installed: no extras to speak of
        return None
    for requirement in requirements:
        found = re.match(r"([\w.-]+).*;.*\bextra == [\"']([\w-]+)[\"']", requirement)
        if found and re.sub(r"[-.]", "_", found[1]).lower() == error.name:
            return f"{error.name} is not installed; it comes with an extra: pip install 'funreason[{found[2]}]'"
    return None
