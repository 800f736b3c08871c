"""The graph of a run: read from the configuration, with its custom agents, and checked for what a run needs.

`bus.checks` knows no agents and accepts any name. Here every node must have an agent, the nodes a run needs must be
present, and the round's message must find its way. `refine` uses the same file without what only a loop has: no
generator, no evaluator; samples enter at the first judge.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from funreason.agents.judges.custom import USUAL
from funreason.agents.judges.llm.acceptance import PANEL
from funreason.agents.judges.llm.labels import LABELS
from funreason.bus.agent import EXHAUSTED, GraphError, Problem, nearest
from funreason.bus.checks import check_graph
from funreason.bus.graph import Edge, Graph, Node
from funreason.bus.topology import Topology, reachable
from funreason.config import CONFIGS, AgentEntry, Config, ConfigError, read_yaml_file
from funreason.types import Outcome

STAGES = ("response", "query_tool", "cot", "parameters", "format")
"""The paper's five stages, in its order."""
START, END = "generator", "dead_letter"
REWARD = "reward"
"""The node where a sample gets its reward."""
LOOP_ONLY = frozenset({START, "evaluator"})
"""Nodes of a loop that `refine` does without."""
ENDS = ("trainer", END)
"""Where samples end: kept or dropped."""


RENAMED_OUTCOMES = {"spent": "exhausted", "same": "reformatted", "changed": "rewritten", "fresh": "resampled"}
"""What outcomes of the stages and the regenerator were called in earlier graph files."""


def check_outcomes(graph: Topology, name: str) -> list[Problem]:
    """Outcomes of the graph file `name` that its agents gave under an earlier name."""
    return [
        Problem(
            "renamed",
            f"node {node.name!r} of the graph {name} has the outcome {outcome!r}, which is called "
            f"{RENAMED_OUTCOMES[outcome]!r} now; rename it in `outcomes` and in its edge.",
        )
        for node in graph.nodes
        if node.name in (*STAGES, "regenerator")
        for outcome in node.outcomes
        if outcome in RENAMED_OUTCOMES
    ]


def check_agents(graph: Topology, name: str) -> list[Problem]:
    """Nodes of the graph file `name` that ask for another agent than their own: a file chooses none."""
    return [
        Problem(
            "agent",
            f"node {node.name!r} of the graph {name} asks for the agent {node.agent!r}, but a node of a graph file "
            f"always has the agent of its own name: remove `agent`, and list the custom agent in the configuration: "
            f"`agents: [{{name: mine, agent: {node.agent!r}, after: cot}}]`.",
        )
        for node in graph.nodes
        if node.agent not in ("", node.name)
    ]


def check_required_nodes(
    graph: Topology, own: Collection[str], name: str, *, loop: bool, rewards: bool = False, hard: bool = False
) -> list[Problem]:
    """What keeps a loop (with `rewards`: one that learns from them) or `refine` from running the graph `name`.

    `own` are the user's judges; `hard` says that the loop has hard-data rounds, which need the panel.
    """
    needed = (START, *[REWARD] * rewards, *[PANEL] * hard, *ENDS, "evaluator") if loop else ENDS
    seats = [*STAGES, "regenerator", *ENDS, *((REWARD, *sorted(LOOP_ONLY)) if loop else ()), *own]
    seats += [PANEL, LABELS] if hard and loop else []
    problems = []
    for node in (node for node in graph.names if node not in seats):
        text = (
            f"no agent answers at node {node!r} of the graph {name}; {nearest(node, seats)} A custom agent is added "
            "by `agents:` in the configuration, not by the graph file."
        )
        problems.append(Problem("no_agent", text))
    for node in (node for node in needed if node not in graph.names):
        who, like = "a loop" if loop else "`refine`", "grpo" if rewards else "hdr" if hard and loop else "fcdr"
        text = f"the graph {name} has no node {node!r}, which {who} needs: add it as in configs/{like}.yaml."
        problems.append(Problem("no_node", text))
    if not loop:
        return problems
    if START in graph.names and graph.start in graph.names and graph.start != START:
        text = f"the graph {name} starts at {graph.start!r}, but samples are drawn at {START!r}: set `start: {START}`."
        return [*problems, Problem("wrong_start", text)]
    return problems + _round_problems(graph, name, rewards)


def _round_problems(graph: Topology, name: str, rewards: bool) -> list[Problem]:
    """What keeps the round's message from its way: generator, trainer, evaluator, generator, and that of a step."""
    edges = [edge for edge in graph.edges if edge.per_round]
    wanted = (
        (START, "drained", "trainer"),
        ("trainer", "candidate", "evaluator"),
        ("evaluator", "accepted", START),
        *([("trainer", "more", START), ("trainer", "stepped", START)] if rewards else []),
    )
    problems = []
    for source, outcome, target in wanted:
        first = [edge for edge in edges if (edge.source, edge.outcome) == (source, outcome)]
        if not first or target not in reachable(graph.names, [e for e in edges if e.source != target], source):
            problems.append(
                Problem(
                    "no_round_edge",
                    f"the round's message cannot travel from {source!r} to {target!r} in the graph {name}: add the "
                    f"edge `{source} {outcome} {target} round`.",
                )
            )
    return problems


def read_graph_file(name: str) -> Graph:
    """The graph in a file, or in configs/ by name; unchecked."""
    for path in (Path(name), CONFIGS / f"{name}.yaml"):
        if path.is_file():
            break
    else:
        raise GraphError([Problem("no_file", f"no graph file {name}: neither a path nor a name in {CONFIGS}")])
    try:
        data = read_yaml_file(path)
    except ConfigError as error:
        raise GraphError([Problem("not_yaml", str(error))]) from error
    if not isinstance(data, dict):
        raise GraphError([Problem("not_a_graph", f"{path} must hold `start`, `nodes` and `edges`")])
    return Graph.from_mapping(data)


def loop_graph(config: Config) -> Graph:
    """The graph of a loop; GraphError says everything that would keep a loop from running it."""
    graph = _whole(config, config.graph)
    if config.resamples_hard_tasks and config.hdr.repair_labels:
        graph = _with_agent(graph, AgentEntry(name=LABELS, agent=LABELS, after=START, edge="drained"))
    return _checked(graph, config, config.graph, loop=True)


def refine_graph(config: Config) -> Graph:
    """The graph of FCDR alone: from the first judge to trainer (which only keeps) or dead letter; GraphError as above.

    A graph without generator, evaluator and round edges serves as well.
    """
    whole = _whole(config, config.fcdr.graph)
    entry = next((e.target for e in whole.edges if e.source == "generator" and e.outcome == "sampled"), whole.start)
    left_out = LOOP_ONLY | (whole.round_nodes - {"trainer"})
    nodes = tuple(replace(n, outcomes=()) if n.name == "trainer" else n for n in whole.nodes if n.name not in left_out)
    edges = tuple(e for e in whole.edges if not e.per_round and not {e.source, e.target} & left_out)
    return _checked(Graph(nodes, edges, entry), config, config.fcdr.graph, loop=False)


def _checked(graph: Graph, config: Config, name: str, *, loop: bool) -> Graph:
    own, rewards = [entry.name for entry in config.agents], config.learns_from_rewards
    needs = check_required_nodes(graph, own, name, loop=loop, rewards=rewards, hard=config.resamples_hard_tasks)
    if problems := [*check_graph(graph), *needs]:
        raise GraphError(problems)
    return graph


def _whole(config: Config, name: str) -> Graph:
    fcdr = config.fcdr
    graph = read_graph_file(name)
    if problems := [*check_agents(graph, name), *check_outcomes(graph, name)]:
        raise GraphError(problems)
    for entry in config.agents:
        graph = _with_agent(graph, entry)
    for name, after in fcdr.move.items():
        onward = next((e.target for e in graph.edges_from(after) if e.outcome == Outcome.PASS), "")
        graph = graph.moved(name, (after, onward))
    for name in fcdr.skip:
        graph = graph.without(name)
    if not fcdr.skip:
        return graph
    # Without what only a stage that was left out had led to, such as the regenerator.
    found = reachable(graph.names, graph.edges, graph.start)
    nodes = tuple(node for node in graph.nodes if node.name in found)
    return Graph(nodes, tuple(edge for edge in graph.edges if edge.source in found), graph.start)


def _with_agent(graph: Graph, entry: AgentEntry) -> Graph:
    onward = next((e for e in graph.edges_from(entry.after) if e.outcome == entry.edge), None)
    if onward is None:
        text = f"agents: {entry.name} comes after {entry.after!r}, which has no `{entry.edge}` edge"
        raise GraphError([Problem("no_edge", text)])
    cut = (entry.after, onward.target)
    if onward.per_round:
        # A refusal travels on as a verdict: who receives the message next acts on it. A fault stops the run.
        edges = [Edge(entry.name, outcome, target, per_round=True) for outcome, target in entry.outcomes.items()]
        edges.append(Edge(entry.name, Outcome.DROP, onward.target, per_round=True))
        outcomes = dict.fromkeys((Outcome.PASS, Outcome.DROP, *entry.outcomes))
        return graph.with_node(
            Node(entry.name, agent=entry.agent, outcomes=tuple(outcomes)), cut, entry.edge, edges=edges
        )
    # An edge that leads back is a retry, or a sample could circle forever.
    free = [edge for edge in graph.carrying if not edge.retry]
    edges = [
        Edge(entry.name, outcome, target, retry=entry.after in reachable(graph.names, free, target))
        for outcome, target in entry.outcomes.items()
    ]
    exhausted = (EXHAUSTED,) if any(edge.retry for edge in edges) else ()
    outcomes = dict.fromkeys((*USUAL, *entry.outcomes, *exhausted))
    return graph.with_node(Node(entry.name, agent=entry.agent, outcomes=tuple(outcomes)), cut, entry.edge, edges=edges)


def judging_order(graph: Graph, judges: Sequence[str]) -> list[str]:
    """The judges' names in the order a sample meets them."""
    return [name for name in graph.order if name in judges]


__all__ = ["END", "REWARD", "STAGES", "judging_order", "loop_graph", "read_graph_file", "refine_graph"]
