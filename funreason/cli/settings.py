"""Commands over the configuration."""

from __future__ import annotations

from funreason.cli.app import AnySetting, ConfigName, config_app


@config_app.command(name="show")
def config_show(name: ConfigName = "default", /, *, set: AnySetting = None) -> int:
    """The whole configuration as it would be used, every default spelled out."""
    from funreason.commands.settings import show_config

    return show_config(name, set or [])


@config_app.command(name="check")
def config_check(name: ConfigName = "default", /, *, set: AnySetting = None) -> int:
    """Check a configuration, its graph and its judges, without starting anything."""
    from funreason.commands.settings import check

    return check(name, set or [])
