"""Time against length for every rule of stages 1 to 5: which texts, values and schemas make a judge slow.

    python benchmarks/growth.py [--pairs 40] [--seed 0] [--longest 16000] [--out benchmarks/results/growth.md]

A sample is built whose query, thinking, answer, value or tool is one short piece repeated: digits, signs, brackets,
number words, combining marks, in several scripts, and random pairs of those; or whose parts are many. Each stage judges
it at a quarter of a length and at that length, which grows until the time can be measured or `--longest` is reached.
`n log n` gives a ratio of a little more than 4 for four times the length. A ratio above `MOST_RATIO`, three times in a
row, counts as faster growth and is listed; so is a judgement that was ended after `LIMIT_S`. Times are CPU seconds.

    python benchmarks/growth.py --megabytes 50 [--out benchmarks/results/large_records.md]

One text or record of that size instead: each stage judges samples with it, and readers read files in which it is the
second of three records, in each way of packing. What raises, takes longer than `SLOW_S` for a megabyte, or costs a
neighbour in the file is listed.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import gzip
import io
import json
import math
import random
import resource
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from funreason.agents.judges.registry import judges
from funreason.config import Config
from funreason.data.reading import read_tasks
from funreason.types import Call, Sample, Task

STAGES = ("response", "query_tool", "cot", "parameters", "format")
MOST_RATIO = 7.0
"""A square gives 16 for four times the length, n log n 4.7 from 4,000 to 16,000; memory adds to it."""
MEASURABLE_S = 0.05
LIMIT_S = 5.0
SLOW_S = 1.0
REPEATED = ("1,", "a ", "'\"", "a", "1", "{", '\\"')
"""Pieces of large records; the first three are the slowest, and judged too."""
PIECES = (
    "1", "0", "1,", "1,1", "11,111,", "1.", ".1", "1\n", "1 ", "1-", "-1", "1:", "1:1", "1/", "1/1/", "1e",
    "1e9", "1_", "1 am ", "1 jan ", "jan ", "jan 1, ", "10 de ", "1st of ", "3.4. ", "2020-01-", "20200101",
    "noon ", "1 000.", "1%", "a", "A", "aA", "a ", "a.", "a@", "a@b.", "a_", "a-", "the ", "and ", "half ",
    "halb 3 ", "e", "ae", "s", "es", "one ", "twenty-", "hundred ", "two and a ", "minus ", "half one ",
    "next ", "next a ", "last week ", "://", "http://", " ", "\n", "\t", "\xa0", "\x0b", "\r\n", "-", "--",
    ".", "...", ",", ";", ":", "|", "/", "\\", "\\\\", "_", "#", "$", "%", "(", ")", "[", "]", "{", "}", "<",
    ">", "()", "[]", "{}", "<>", "'", '"', "`", "```", "```\n", "\\'", "=", "f(", "f(x=", "[f(", "[f(x=1),",
    "f(x=1)\n", "f(x='", '{"', '{"name":', "[{", '{"a":[', "<think>", "</think>", "<tool_call>",
    "<tool_call>{", "</tool_call>", "<function=", "<|", "<|x|>", "[/", "</", "[TOOL_CALLS]", "<f>", "<f x=",
    "&lt;", "~", "é", "ß", "\u0301", "\u0301\u0316", "\u0316\u0301", "a\u0301\u0316", "\u200b", "\u202e", "ﷺ",
    "½", "１", "٣", "𝟙", "一", "万", "三百", "下周", "1月", "1月1日", "上午1点", "百分之", "가", "일", "삼월 ",
    "ก", "หนึ่ง", "ё", "пять ", "1 мая ", "م", "وال", "خمسه و", "ש", "אחת ", "ड", "एक ", "の", "ア", "zwei ",
    "einundzwanzig ", "und ", "de la ", "5 h ", "r", "x",
)  # fmt: skip
"""What texts are made of."""
WRAPS = (("", ""), ("-", "x"), ("a ", "\n!"), ("[f(x='", "')]"), ('[{"name": "f", "arguments": {"x": "', '"}}]'))


class Shape(NamedTuple):
    """Where a text of a given length is put in a sample."""

    name: str
    build: Callable[[str], Sample]


def tool(**schema: Any) -> dict[str, Any]:
    """A tool `f` with one parameter."""
    parameters = {"type": "object", "properties": {"x": {"type": "string", **schema}}, "required": ["x"]}
    return {"name": "f", "description": "does f", "parameters": parameters}


def sample(
    query: str = "Call f with seven.",
    answer: str = "[f(x='seven')]",
    thinking: str = "I call f with seven.",
    tools: list[Any] | None = None,
) -> Sample:
    """A sample of one call, any part of it exchanged."""
    return Sample.of("s", Task.of("t", query, [tool()] if tools is None else tools), answer, thinking)


def call(value: Any) -> str:
    """An answer with one call, in JSON, which spells any value."""
    return json.dumps([{"name": "f", "arguments": {"x": value}}], ensure_ascii=False)


TEXTS = (
    Shape("query", lambda text: sample(query=text)),
    Shape("thinking", lambda text: sample(thinking=f"I call f. {text}")),
    Shape("answer", lambda text: sample(answer=text)),
    Shape("value", lambda text: sample(answer=call(text))),
    Shape("value, same query", lambda text: sample(query=f"z{text}z", answer=call(text), thinking=f"f z{text}z")),
    Shape(
        "value, other query",
        lambda text: sample(query=f"{text}9", answer=call(f"{text[:2000]}8"), thinking=f"f {text}7"),
    ),
    Shape("name", lambda text: sample(answer=json.dumps([{"name": text, "arguments": {}}], ensure_ascii=False))),
    Shape("description", lambda text: sample(answer=call("zz9"), tools=[tool(description=text)])),
)


def counted() -> Iterator[tuple[str, str, Callable[[int], Sample]]]:
    """Samples whose parts are many: what is counted, and the sample of a count."""
    many = {"type": "array", "items": {"type": "string"}}
    yield "enum values", "schema", lambda n: sample(tools=[tool(enum=[f"v{i}" for i in range(n)])])
    yield "properties", "schema", lambda n: sample(tools=[_wide(n)], answer=_arguments(n))
    yield "required", "schema", lambda n: sample(tools=[_wide(n)])
    yield "tools", "schema", lambda n: sample(tools=[{**tool(), "name": f"g{i}"} for i in range(n)] + [tool()])
    yield "anyOf", "schema", lambda n: sample(tools=[tool(anyOf=[{"type": "integer"}] * n)])
    yield "list values", "value", lambda n: sample(answer=call([f"w{i}" for i in range(n)]), tools=[tool(**many)])
    yield "numbers in a list", "value", lambda n: sample(answer=call(list(range(n))), tools=[tool(type="array")])
    yield "floats, query of floats", "value", _floats
    yield "days, query of days", "value", _days
    yield "short forms, query of words", "value", _short_forms
    yield (
        "calls, enum as long",
        "answer",
        lambda n: sample(answer=_calls(n), tools=[tool(enum=list(map(str, range(n))))]),
    )
    yield (
        "calls, anyOf as long",
        "answer",
        lambda n: sample(answer=_calls(n), tools=[tool(anyOf=[{"type": "null"}] * n)]),
    )
    yield "calls, tools as many", "answer", lambda n: sample(answer=_calls(n), tools=[tool(), *_tools(n)])
    yield "calls, description as long", "answer", _described
    yield "calls, reference reversed", "answer", _reversed
    yield "keys", "value", lambda n: sample(answer=call({f"k{i}": "w" for i in range(n)}), tools=[tool(type="object")])
    yield "calls", "answer", lambda n: sample(answer=f"[{', '.join(['f(x=1)'] * n)}]")
    yield "different calls", "answer", lambda n: sample(answer=f"[{', '.join(f'f(x={i})' for i in range(n))}]")
    yield "digits", "answer", lambda n: sample(answer=f"[f(x={'1' * n})]")
    yield "list levels", "answer", lambda n: sample(answer=f"[f(x={'[' * n}{']' * n})]")
    yield "object levels", "answer", lambda n: sample(answer='{"a":' * n + "1" + "}" * n)
    yield "schema levels", "schema", lambda n: sample(tools=[tool(**_deep(n))])
    yield "words, each once", "value", _words
    yield (
        "words, query alike",
        "value",
        lambda n: sample(query=_alike(n), answer=call("abzz qqq"), thinking=f"f {_alike(n)}"),
    )


def _calls(n: int) -> str:
    return json.dumps([{"name": "f", "arguments": {"x": str(i)}} for i in range(n)])


def _tools(n: int) -> list[dict[str, Any]]:
    return [{**tool(), "name": f"g{i}"} for i in range(n)]


def _described(n: int) -> Sample:
    return sample(answer=_calls(n), tools=[tool(description=" ".join(map(str, range(n))))])


def _reversed(n: int) -> Sample:
    reference = [Call("f", {"x": str(i)}) for i in range(n)][::-1]
    return Sample.of("s", Task.of("t", " ".join(map(str, range(n))), [tool()], reference), _calls(n), "f")


def _days(n: int) -> Sample:
    days = [f"{1000 + i % 9000}-{1 + i // 9000 % 12:02}-04" for i in range(n)]
    return sample(query=" ".join(days), answer=call(days[::-1]), thinking=f"f {' '.join(days)}")


def _short_forms(n: int) -> Sample:
    words = [f"{chr(97 + i % 26)}{chr(97 + i // 26 % 26)}{chr(97 + i // 676 % 26)}" for i in range(n)]
    said = " ".join("".join(letter + "q" for letter in word) for word in words)
    return sample(query=said, answer=call(words[::-1]), thinking=f"f {said}")


def _floats(n: int) -> Sample:
    said = " ".join(f"{i}.{i % 89}" for i in range(n))
    answer = call([i + 0.123456 for i in range(n)])
    return sample(query=said, answer=answer, thinking=f"f {said}", tools=[tool(type="array")])


def _words(n: int) -> Sample:
    return sample(query=_alike(n), answer=call([f"abw{i}y" for i in range(n)]), thinking=f"f {_alike(n)}")


def _alike(n: int) -> str:
    return " ".join(f"ab{chr(97 + i % 26)}{i}" for i in range(n))


def _wide(n: int) -> dict[str, Any]:
    names = [f"p{i}" for i in range(n)]
    schema = {"type": "object", "properties": {name: {"type": "string"} for name in names}, "required": names}
    return {"name": "f", "description": "", "parameters": schema}


def _arguments(n: int) -> str:
    return json.dumps([{"name": "f", "arguments": {f"p{i}": "seven" for i in range(n)}}])


def _deep(n: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(min(n, 800)):
        schema = {"type": "array", "items": schema}
    return schema


class TooSlow(Exception):
    """A judgement that was ended."""


def _ended(*_: object) -> None:
    raise TooSlow


def seconds(made: Sample, stages: dict[str, Any], limit_s: float = LIMIT_S) -> dict[str, float]:
    """The time of each stage for one sample; infinite for one that was ended."""
    found = {}
    for name in STAGES:
        signal.setitimer(signal.ITIMER_VIRTUAL, limit_s)
        start = time.process_time()
        try:
            asyncio.run(stages[name](made))
            found[name] = time.process_time() - start
        except TooSlow:
            found[name] = math.inf
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return found


def growths(
    of_length: Callable[[int], Sample], stages: dict[str, Any], shortest: int, longest: int
) -> dict[str, tuple]:
    """By stage: the largest ratio of times for four times the length that held, the length, the seconds there."""
    best: dict[str, tuple[float, int, float]] = {}
    length, slow = shortest, {}
    small = seconds(of_length(length // 4), stages)
    while True:
        large = seconds(of_length(length), stages)
        for name in STAGES:
            ratio = large[name] / max(small[name], 1e-9)
            if large[name] < MEASURABLE_S:
                ratio = 0.0
            elif ratio > MOST_RATIO and large[name] < math.inf:  # one slow moment of the machine is no growth
                for _ in range(2):
                    ratio = min(ratio, seconds(of_length(length), stages)[name] / small[name])
            best[name] = (ratio, length, large[name])
            slow[name] = large[name]
        if length >= longest or min(slow.values()) > 1.0 or math.inf in slow.values():
            return best
        length, small = length * 4, large


def large_records(size: int) -> Iterator[tuple[str, str]]:
    """Records of about `size` characters: what is large in each, and its JSON, which need not be whole."""
    call = {"name": "f", "arguments": {"x": "seven"}}
    for piece in REPEATED:
        yield f"a query of {piece!r}", record("large", query=piece * (size // len(piece)))
    yield "answers", record("large", answers=[call] * (size // len(json.dumps(call))))
    yield "tools", record("large", tools=[tool()] * (size // len(json.dumps(tool()))))
    yield "levels", f'{{"id": "large", "query": {"[" * (size // 2)}{"]" * (size // 2)}}}'
    yield "one number", f'{{"id": "large", "query": {"1" * size}}}'
    yield "brackets, never closed", f'{{"id": "large", "query": {"[" * size}'


def record(name: str, **parts: Any) -> str:
    """A record of the xLAM form, in JSON."""
    answers = [{"name": "f", "arguments": {"x": "seven"}}]
    return json.dumps({"id": name, "query": "Call f with seven.", "tools": [tool()], "answers": answers} | parts)


def packed(large: str) -> Iterator[tuple[str, bytes]]:
    """Files in which a large record is the second of three: a suffix and what the file holds."""
    before, after = record("before"), record("after")
    lines = f"{before}\n{large}\n{after}\n".encode()
    yield "jsonl", lines
    yield "json", f"[{before}, {large}, {after}]".encode()
    yield "jsonl.gz", gzip.compress(lines, compresslevel=1)
    table = io.StringIO()
    rows = csv.writer(table)
    rows.writerow(["id", "query", "tools", "answers"])
    for text in (before, record("large", query=large), after):
        found = json.loads(text)
        rows.writerow([found["id"], found["query"], json.dumps(found["tools"]), json.dumps(found["answers"])])
    yield "csv", table.getvalue().encode()


def measure_large(megabytes: int) -> tuple[list[str], bool]:
    """Rows of a table of what one large text or record costs, and whether all is well."""
    rows = ["| what is large | where | slowest | seconds | result |", "|---|---|---|---:|---|"]
    size, well, stages = megabytes * 1_000_000, True, judges(Config())

    def add(what: str, where: str, slowest: str, took: float, result: str, good: bool) -> None:
        nonlocal well
        well = well and good and took <= SLOW_S * megabytes
        shown = what.replace("|", "\\|").replace("`", "'")
        rows.append(f"| `{shown}` | {where} | {slowest} | {took:.2f} | {result}{'' if good else ' **wrong**'} |")
        print(rows[-1], flush=True)

    for piece in REPEATED[:3]:
        for shape in TEXTS:
            made = shape.build(piece * (size // len(piece)))
            try:
                found = seconds(made, stages, SLOW_S * megabytes)
            except Exception as error:
                add(piece, shape.name, "", 0.0, f"raised {type(error).__name__}", False)
                continue
            slowest = max(found, key=lambda name: found[name])
            add(piece, shape.name, slowest, found[slowest], "a verdict of each stage", found[slowest] < math.inf)
    with tempfile.TemporaryDirectory() as folder:
        for what, text in large_records(size):
            for suffix, data in packed(text):
                file = Path(folder) / f"records.{suffix}"
                file.write_bytes(data)
                start = time.process_time()
                found = read_tasks(file)
                took = time.process_time() - start
                kept, refused = [task.id for task in found.tasks], [each.reason for each in found.refusals]
                good = kept == ["before", "after"] and len(refused) == 1
                add(what, suffix, "reader", took, f"kept {len(kept)}, refused {', '.join(refused)}", good)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return [*rows, "", f"Peak memory {peak:,.0f} MB, the texts themselves included."], well


def main() -> None:
    """Measure, print what grows too fast, and write the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--pairs", type=int, default=40)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--longest", type=int, default=16_000)
    options.add_argument("--shapes", default="", help="parts to measure, joined by |; `counted` for all of many parts")
    options.add_argument("--megabytes", type=int, help="measure one text or record of this size instead")
    options.add_argument("--out", type=Path)
    given = options.parse_args()
    signal.signal(signal.SIGVTALRM, _ended)
    if given.megabytes:
        rows, well = measure_large(given.megabytes)
        text = "\n".join([f"`python benchmarks/growth.py --megabytes {given.megabytes}`", "", *rows]) + "\n"
        if given.out:
            given.out.write_text(text)
        sys.exit(not well)
    stages, draw = judges(Config()), random.Random(given.seed)
    pieces = [*PIECES, *("".join(draw.sample(PIECES, 2)) for _ in range(given.pairs))]
    slowest: dict[tuple[str, str], tuple[float, str, int, float]] = {}
    worst: dict[tuple[str, str], tuple[float, str, int, float]] = {}
    count: dict[str, int] = defaultdict(int)
    wrong: list[str] = []

    def keep(shape: str, text: str, found: dict[str, tuple]) -> None:
        for stage, (ratio, length, took) in found.items():
            count[stage] += 1
            key = (stage, shape)
            slowest[key] = max(slowest.get(key, (0.0, "", 0, 0.0)), (took, text, length, ratio))
            worst[key] = max(worst.get(key, (0.0, "", 0, 0.0)), (ratio, text, length, took))
            if ratio > MOST_RATIO or took == math.inf:
                wrong.append(f"{stage} · {shape} · {text}: {ratio:.1f} times for 4 times {length // 4:,}, {took:.2f} s")
                print(wrong[-1], flush=True)

    for shape in TEXTS:
        if given.shapes and shape.name not in given.shapes.split("|"):
            continue
        for piece in pieces:
            for before, after in WRAPS[: 3 if shape.name != "answer" else None]:

                def of_length(n: int, piece=piece, before=before, after=after, shape=shape) -> Sample:
                    return shape.build(before + (piece * (n // len(piece) + 1))[:n] + after)

                keep(shape.name, f"{before!r} {piece!r}… {after!r}", growths(of_length, stages, 4_000, given.longest))
    for name, shape_name, of_count in counted():
        if not given.shapes or given.shapes == "counted" or name in given.shapes.split("|"):
            keep(name, shape_name, growths(of_count, stages, 1_000, given.longest // 4))
    lines = [f"{sum(count.values()):,} measurements, {len(wrong)} grow faster than n log n.", ""]
    lines += [
        "| stage | part | largest ratio for 4 x the length | at | slowest | text | at |",
        "|---|---|---:|---:|---:|---|---:|",
    ]
    for (stage, shape), (took, text, length, _) in sorted(slowest.items(), key=lambda pair: STAGES.index(pair[0][0])):
        ratio, _, at, _ = worst[stage, shape]
        shown = text.replace("|", "\\|").replace("`", "'")
        lines.append(f"| {stage} | {shape} | {ratio:.1f} | {at:,} | {took:.2f} s | `{shown}` | {length:,} |")
    command = f"python benchmarks/growth.py --pairs {given.pairs} --seed {given.seed} --longest {given.longest}"
    command += f" --shapes '{given.shapes}'" if given.shapes else ""
    text = "\n".join([f"`{command}`", "", *lines, "", *(f"- {line}" for line in wrong)]).rstrip() + "\n"
    print(text)
    if given.out:
        given.out.write_text(text)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
