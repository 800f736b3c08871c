"""Commands over the configuration."""

from __future__ import annotations

from funreason.cli.app import Setting, config_app


@config_app.command(name="show")
def config_show(name: str = "default", /, *, set: Setting = None) -> int:
    """The whole configuration as it would be used, every default spelled out.

    Parameters
    ----------
    name
        A YAML file, or a name in configs/.
    set
        Change one setting.
    """
    from funreason.commands.settings import show_config

    return show_config(name, set or [])


@config_app.command(name="check")
def config_check(name: str = "default", /, *, set: Setting = None) -> int:
    """Check a configuration, its graph and its judges, without starting anything.

    Parameters
    ----------
    name
        A YAML file, or a name in configs/.
    set
        Change one setting.
    """
    from funreason.commands.settings import check

    return check(name, set or [])
