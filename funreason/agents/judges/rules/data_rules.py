"""EGPO's data preparation: whether a call is needed at all, and the rules of its second stage.

Whether a query needs a call (`call` or `none`) is said by language models where these judge `query_tool`: they see the
query and the tools and not the answer. At least two votes that agree decide. Otherwise the record decides: it needs a
call if its answer attempts one, or its reference has one.

A record whose tools are those of BFCL's multi-turn test is dropped first: to learn from it is to learn the test.

`configs/egpo-data.yaml` puts these agents into the graph `configs/egpo-graph.yaml`.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from funreason.agents.judges.rules.verdicts import RULES, calls_in, failed
from funreason.bfcl.multi_turn_tools import multi_turn_tools, offered_names
from funreason.calls.lenient import looks_like_calls
from funreason.types import Outcome, Sample, Verdict

STAGE = "ast"
GROUNDING = "grounding"
BENCHMARK_TOOLS = "benchmark_tools"
MIN_SEATS = 2
"""Votes that it takes to overrule the record."""
_EVEN = 0.5


class Need(NamedTuple):
    """Whether the query needs a call, and who says so: `seats`, `disputed` (seats that disagree) or `record`."""

    need: Literal["call", "none"]
    by: Literal["seats", "disputed", "record"]


def need_of(sample: Sample) -> Need:
    """Whether the sample's query needs a call. Where the seats disagree, the record decides."""
    votes = next((v.votes for v in reversed(sample.verdicts) if v.stage == "query_tool" and v.votes), ())
    given = [vote > _EVEN for vote in votes if vote is not None]
    if len(given) >= MIN_SEATS and len(set(given)) == 1:
        return Need("call" if given[0] else "none", "seats")
    if sample.task.reference is not None:
        by_record = bool(sample.task.reference)
    else:
        # The first verdict is about the record's own answer; later ones may be about a regenerated one.
        first = next((verdict for verdict in sample.verdicts if verdict.stage == "response"), None)
        if first is not None and first.outcome in (Outcome.PASS, Outcome.KEEP_TEXT):
            by_record = first.outcome == Outcome.PASS
        else:
            by_record = bool(calls_in(sample.answer, sample.task.tools)) or looks_like_calls(sample.answer)
    return Need("call" if by_record else "none", "disputed" if len(given) >= MIN_SEATS else "record")


async def judge_ast(sample: Sample) -> Verdict:
    """Stage 2: `drop` without a retry where the answer contradicts the need, else `pass` with the need as its reason.

    Reasons: `ast.call_where_none_can_serve`, `ast.no_call_where_needed`; `need.call.<by>` and `need.none.<by>`, where
    `by` is `seats`, `disputed` or `record`.
    """
    need, by = need_of(sample)
    calls = calls_in(sample.answer, sample.task.tools)
    if need == "none" and calls:
        names = ", ".join(call.name for call in calls)
        return failed(STAGE, Outcome.DROP, "ast.call_where_none_can_serve", f"by {by} no tool serves; it calls {names}")
    if need == "call" and not calls:
        return failed(STAGE, Outcome.DROP, "ast.no_call_where_needed", f"by {by} a call is needed: {sample.answer!r}")
    return Verdict(STAGE, Outcome.PASS, f"need.{need}.{by}", judge=RULES)


async def judge_benchmark_tools(sample: Sample) -> Verdict:
    """`drop` with the reason `benchmark_tools.bfcl_multi_turn` where the tools are those of BFCL's multi-turn test."""
    found = multi_turn_tools(offered_names(sample.task))
    if found is None:
        return Verdict(BENCHMARK_TOOLS, Outcome.PASS, judge=RULES)
    return failed(BENCHMARK_TOOLS, Outcome.DROP, f"{BENCHMARK_TOOLS}.bfcl_multi_turn", str(found))


async def judge_grounding(sample: Sample) -> Verdict:
    """After a `drop` of stage `query_tool`: whose fault it is.

    A rule's drop is the answer's fault, and the answer is regenerated. A model's drop says that no tool can serve, as
    does the rule's `tools.empty`: the need is `none`, and the sample continues.
    """
    last = next((verdict for verdict in reversed(sample.verdicts) if verdict.stage == "query_tool"), None)
    if last is None or last.judge != RULES or last.reason == "tools.empty":
        return Verdict(GROUNDING, Outcome.PASS, judge=RULES)
    return failed(GROUNDING, Outcome.REGENERATE, last.reason, last.evidence)


judge_grounding.outcomes = (Outcome.REGENERATE,)  # type: ignore[attr-defined]
