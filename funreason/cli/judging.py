"""Commands over agents of one's own."""

from __future__ import annotations

from funreason.cli.app import agents


@agents.command(name="list")
def agents_list() -> int:
    """The judges that come with this package and those that installed packages offer; broken ones with their error."""
    from funreason.commands.agents import list_agents

    return list_agents()


@agents.command(name="test")
def agents_test(agent: str, /) -> int:
    """Try a judge on ordinary and nasty samples: outcomes, determinism, event loop, speed. Exit code 1 if it fails.

    Parameters
    ----------
    agent
        my_judge.py:no_pii, package.module:name, or the name of an installed agent.
    """
    from funreason.commands.agents import check_agent

    return check_agent(agent)
