"""Names on a hub in a configuration: each is found in the cache or fetched, and pinned to the commit it means now.

A run's record holds the pinned names, so a resumed run reads the same bytes, whatever a branch has become. Nothing is
fetched without `download`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from funreason.config import Config
from funreason.data.files.repository import fetch_part, is_cached
from funreason.hub import HubError, HubName, HubUnreachable, Listing, Report, absent, cached, data_name, model_name
from funreason.policies.hub_models import fetch_model, hub_folder

Say = Callable[[str], None]
"""Receives a sentence for people."""


def pinned_model(text: str, *, download: bool = False, say: Say | None = None, report: Report | None = None) -> str:
    """The model's name with the commit of its files in the cache; any other text is returned as it is.

    With `download` the hub is asked what the name means now, and what is missing is fetched. HubError says why a model
    cannot be had, or what would be fetched.
    """
    name = model_name(text)
    if name is None:
        return text
    return _pinned(name, hub_folder(name) is not None, fetch_model if download else None, say, report)


def pinned_data(text: str, *, download: bool = False, say: Say | None = None, report: Report | None = None) -> str:
    """As `pinned_model`, for the name of a data set. DataError where a repository holds no data file."""
    name = data_name(text)
    if name is None:
        return text
    return _pinned(name, is_cached(name), fetch_part if download else None, say, report)


def with_pinned_names(config: Config, say: Say | None = None, report: Report | None = None) -> Config:
    """The configuration with every hub name in it pinned; fetched with `download: true`. Errors as above."""
    how: dict[str, Any] = {"download": config.download, "say": say, "report": report}
    plain = config.model_dump()
    pinned = False
    for path, pin in _PLACES.items():
        *sections, last = path.split(".")
        for group in _groups(plain, sections):
            text = group.get(last)
            if isinstance(text, str) and (name := pin(text, **how)) != text:
                group[last], pinned = name, True
    return Config.model_validate(plain) if pinned else config


_PLACES = {
    "model.path": pinned_model,
    "fcdr.llm.model": pinned_model,
    "tasks.path": pinned_data,
    "start.references.path": pinned_data,
    "start.update.replay.path": pinned_data,
    "train.update.replay.path": pinned_data,
    "gate.suites.*.path": pinned_data,
}
"""The settings that may be a name on a hub; `*` is a name of the user's own."""


def _groups(plain: Any, sections: list[str]) -> list[dict[str, Any]]:
    """The groups of settings under these sections."""
    found = [plain]
    for section in sections:
        inner = [each for group in found for each in (group.values() if section == "*" else [group.get(section)])]
        found = [group for group in inner if isinstance(group, dict)]
    return found


def _pinned(
    name: HubName,
    whole: bool,
    fetch: Callable[[HubName, Report | None], Listing] | None,
    say: Say | None,
    report: Report | None,
) -> str:
    before = cached(name) if whole else None
    if fetch is None or (before is not None and name.pinned):
        if before is None:
            raise HubError(absent(name))
        return str(before.name)
    try:
        found = fetch(name, report)
    except HubUnreachable as error:
        if before is None:
            raise
        if say is not None:
            say(f"{before.name} is used from the cache, unasked whether it is still the newest. {error}")
        return str(before.name)
    if before is not None and before.name != found.name and say is not None:
        say(
            f"{name.repo}: {name.revision or 'main'} has moved to {found.name.revision[:12]} and was "
            f"{before.name.revision[:12]} when it was fetched last. For that one: {before.name}"
        )
    return str(found.name)
