"""How far the five rule judges agree with the mechanical flags of real records.

    python benchmarks/judges_vs_flags.py [FOLDER] [--disagreements N] > benchmarks/results/judges_vs_flags.txt

FOLDER holds open-dev.jsonl.gz and nasty.jsonl (default ../shared/data/real). Each record's own answer is the sample,
judged by every stage on its own, without a reference. The flags come from another checker, not from people: where
the two disagree, neither is right by name, so the disagreements are printed to be read.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import hashlib
import json
import statistics
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from scipy.stats import binomtest

from funreason.agents.judges.rules.cot_check import thinking_problem
from funreason.agents.judges.rules.stages import (
    CotJudge,
    judge_format,
    judge_parameters,
    judge_query_tool,
    judge_response,
)
from funreason.agents.judges.rules.verdicts import calls_in
from funreason.calls.schema import check_call, tool_named
from funreason.calls.tools import normalise_tools
from funreason.data.reading import read_samples
from funreason.types import Call, Sample, Verdict

JUDGES: dict[str, Callable[[Sample], Awaitable[Verdict]]] = {
    "response": judge_response,
    "query_tool": judge_query_tool,
    "cot": CotJudge(require=False),
    "parameters": judge_parameters,
    "format": judge_format,
}
CODES = {
    "gold_unknown_function": "tools.unknown_function",
    "gold_unknown_param": "schema.unknown_parameter",
    "gold_missing_required": "schema.missing_required",
    "gold_type_mismatch": "schema.type",
    "gold_enum_violation": "schema.enum",
    "gold_ungrounded_value": "query.ungrounded_value",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("../shared/data/real"))
    parser.add_argument("--disagreements", type=int, default=40, help="how many to print, in the order of their hashes")
    options = parser.parse_args()
    for name in ("open-dev.jsonl.gz", "nasty.jsonl"):
        report(options.folder / name, options.disagreements if name.startswith("open") else 0)


def report(path: Path, disagreements: int) -> None:
    reading = read_samples(path)
    flags = flags_of(path)
    found, evidence, times = judge_all(reading.samples)
    print(f"# {path.name}: {reading.summary()}\n")
    print_agreement(reading.samples, flags, found)
    clean = [sample for sample in reading.samples if not flags[sample.id]]
    alarms = [sample for sample in clean if "query.ungrounded_value" in found[sample.id]]
    print(f"\nstage 2 drops {share(len(alarms), len(clean))} of the records without any flag as ungrounded")
    thinking = [sample for sample in reading.samples if sample.thinking]
    doubted = [sample for sample in thinking if any(code.startswith("cot.") for code in found[sample.id])]
    print(f"stage 3 drops {share(len(doubted), len(thinking))} of the records with a chain of thought")
    print_all_thinking(path)
    print(
        "reasons:", ", ".join(f"{code} {n}" for code, n in Counter(c for s in found.values() for c in s).most_common())
    )
    print("median us per judgement:", ", ".join(f"{stage} {us:.0f}" for stage, us in times.items()))
    print_disagreements(reading.samples, flags, found, evidence, disagreements)
    print()


def judge_all(samples: list[Sample]) -> tuple[dict[str, set[str]], dict[str, str], dict[str, float]]:
    """Codes and stage 2's evidence by sample id, and the median cost of each stage (in stage order)."""
    found: dict[str, set[str]] = {sample.id: set() for sample in samples}
    evidence: dict[str, str] = {}
    times = {}

    async def run() -> None:
        for stage, judge in JUDGES.items():
            spent = []
            for sample in samples:
                start = time.perf_counter()
                verdict = await judge(sample)
                if stage != "cot" or sample.thinking:
                    spent.append(time.perf_counter() - start)
                if verdict.reason:
                    found[sample.id].add(verdict.reason)
                if verdict.reason == "query.ungrounded_value":
                    evidence[sample.id] = verdict.evidence
            times[stage] = statistics.median(spent) * 1e6

    asyncio.run(run())
    for sample in samples:
        found[sample.id] |= schema_codes(sample)
    return found, evidence, times


def print_all_thinking(path: Path) -> None:
    """Stage 3's rule on every record with a chain of thought, those too whose names no Python call can spell."""
    problems = {}
    for record in records_of(path):
        try:
            calls = [Call(call["name"], call["arguments"]) for call in json.loads(record["answers"])]
            tools = normalise_tools(json.loads(record["tools"]))
        except (ValueError, KeyError, TypeError):
            continue  # malformed records are counted by the reader above
        if record.get("cot"):
            problems[record["id"]] = thinking_problem(record["cot"], calls, tools)
    doubted = {name: problem for name, problem in problems.items() if problem}
    print(f"stage 3's rule doubts {share(len(doubted), len(problems))} of all readable chains of thought:")
    for name, problem in doubted.items():
        print(f"  {name}  {problem.code}: {problem.evidence}")


def schema_codes(sample: Sample) -> set[str]:
    """Every schema problem, not only the first that stage 4 reports: a record may have several flags."""
    pairs = [(call, tool_named(sample.task.tools, call.name)) for call in calls_in(sample.answer) or ()]
    return {problem.code for call, tool in pairs if tool for problem in check_call(call, tool)}


def flags_of(path: Path) -> dict[str, set[str]]:
    return {record["id"]: set(record.get("flags") or record.get("problems") or ()) for record in records_of(path)}


def records_of(path: Path) -> list[dict[str, Any]]:
    data = path.read_bytes()
    text = gzip.decompress(data) if path.suffix == ".gz" else data
    return [json.loads(line) for line in text.splitlines()]


def print_agreement(samples: list[Sample], flags: dict[str, set[str]], found: dict[str, set[str]]) -> None:
    print("| flag | our code | flagged | ours | both | precision (95 %) | recall (95 %) |")
    print("|---|---|---:|---:|---:|---|---|")
    for flag, code in CODES.items():
        flagged = {sample.id for sample in samples if flag in flags[sample.id]}
        ours = {sample.id for sample in samples if code in found[sample.id]}
        both = len(flagged & ours)
        row = (flag, code, len(flagged), len(ours), both, share(both, len(ours)), share(both, len(flagged)))
        print("| " + " | ".join(map(str, row)) + " |")


def share(part: int, whole: int) -> str:
    """`3/10 = 30 % (11 to 60)` with the Wilson interval."""
    if not whole:
        return "none"
    interval = binomtest(part, whole).proportion_ci(method="wilson")
    return f"{part}/{whole} = {100 * part / whole:.1f} % ({100 * interval.low:.1f} to {100 * interval.high:.1f})"


def print_disagreements(
    samples: list[Sample], flags: dict[str, set[str]], found: dict[str, set[str]], evidence: dict[str, str], count: int
) -> None:
    differing = [
        sample
        for sample in samples
        if ("gold_ungrounded_value" in flags[sample.id]) != ("query.ungrounded_value" in found[sample.id])
    ]
    # By the hash of the id, so that one record more or less does not draw another forty.
    chosen = sorted(differing, key=lambda sample: hashlib.sha256(sample.id.encode()).digest())[:count]
    if chosen:
        print(f"\n{len(differing)} disagreements about grounding; {len(chosen)} of them:")
    for sample in sorted(chosen, key=lambda sample: (sample.id in evidence, sample.id)):
        query = " ".join(sample.task.query.split())
        print(f"\n{sample.id}  ours: {evidence.get(sample.id, 'grounded')}")
        print(f"  query: {query[:420]}{' […] ' + query[-160:] if len(query) > 580 else query[420:]}")
        print(f"  answer: {sample.answer[:420]}")


if __name__ == "__main__":
    main()
