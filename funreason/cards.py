"""The cards of an export: the README of a model, of a data set, and of chat messages, as hubs read them.

A card is made from the run's record alone. It claims nothing that is not in the record, and says what is unknown: a
licence is only named when given, a base model or data set only linked when its name on a hub is known. The front matter
follows https://github.com/huggingface/hub-docs/blob/main/modelcard.md.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from funreason.display.diagnosis import setting_at
from funreason.display.verdict import RunVerdict
from funreason.errors import ModelError
from funreason.hub import HubError, data_name, model_name
from funreason.record.folder import RECORDS, RecordError, RunFolder, is_refining, readable_settings
from funreason.record.integrity import MARKS
from funreason.record.plain import in_markdown, plain
from funreason.record.sample_files import KEPT
from funreason.record.state import State
from funreason.types import Call
from funreason.weights import START

COLUMNS = {
    "id": "the sample's id in the run",
    "round": "the round that drew it",
    "category": "of its task, where known",
    "source": "where its task came from",
    "query": "what was asked: the words of the user",
    "messages": "JSON: the conversation before the answer, with system text, earlier calls and results",
    "tools": "JSON: the tools offered",
    "thinking": "the model's reasoning; empty when it gave none",
    "answer": "the calls as `[f(a=v)]` or as `model.call_format` says, or text where no call is right",
    "kind": "`kept`: calls that passed five stages; `text`: an answer in words",
    "origin": "`sampled`, `rerendered`, `resampled`, `rewritten`: the model's own; `repaired`, `reference`: supervised",
    "attempt": "how many attempts before this one failed",
    "weights": "the weights that made it",
    "verdicts": "JSON: each judge's verdict",
}
"""The columns of exported data and what they hold; all but `INTEGERS` are text."""
INTEGERS = ("round", "attempt")
GATE = (
    "Old and new weights of each round on the same held-out items; the interval (Wilson, 95 %) is of the new, p is "
    "McNemar's, exact. A suite that a gate reads every round flatters what it lets through."
)
BFCL = "gorilla-llm/Berkeley-Function-Calling-Leaderboard"
OFFICIAL = ("v4", "bfcl-v4")
REASONS = 20
"""Reasons for which samples were lost that a data set's card lists; the rest is added up."""
SHOWN_SETTINGS = (
    "method", "rounds", "seed", "tasks.per_round", "start.references.count", "start.thinking", "model.dtype",
    "model.prompt", "model.call_format", "sample.samples_per_task", "sample.temperature", "sample.max_new_tokens",
    "train.update.lr", "train.update.epochs", "train.update.batch_size", "train.update.alpha",
    "train.update.alpha_mode", "train.update.max_length", "train.update.lora", "reinforcement.reward",
)  # fmt: skip
"""Settings a model's card lists. No addresses and no paths: a card is published."""
IN_LLAMA_CPP = {
    "LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM", "GemmaForCausalLM",
    "Gemma2ForCausalLM", "Gemma3ForCausalLM", "Gemma3ForConditionalGeneration", "Phi3ForCausalLM",
    "SmolLM3ForCausalLM", "GraniteForCausalLM",
}  # fmt: skip
"""Architectures that llama.cpp's convert_hf_to_gguf.py registers, of those this package counts in `plan`."""
EXAMPLE_TOOL: dict[str, Any] = {
    "name": "get_weather",
    "description": "The weather in a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "description": "The city's name."}},
        "required": ["city"],
    },
}
EXAMPLE_QUERY = "What is the weather in Oslo?"
_FOLDERS = {"models", "model", "weights", "checkpoints", "runs", "data", "datasets", "out", "output", "outputs"}
"""First parts of a relative path that are taken for folders and not for owners on a hub."""


class About(NamedTuple):
    """What a card needs beside the record: names and licences, as given or as in the configuration.

    `base_hub` and `data_hub` are names on a hub, empty where they are not known. `files` has the hashes of the data, by
    what names it. `architecture` is the class of the exported model.
    """

    name: str
    base: str
    tasks: str
    license: str | None
    data_license: str | None
    weights: str
    base_hub: str = ""
    data_hub: tuple[str, ...] = ()
    language: tuple[str, ...] = ()
    settings: Mapping[str, Any] = {}
    files: Mapping[str, str] = {}
    architecture: str = ""
    refined: bool = False
    system_in_user_turn: bool = False


class SuiteScores(NamedTuple):
    """What `funreason eval` measured of the exported weights: rows of name, items right, all items, and percent."""

    suite: str
    rows: tuple[tuple[str, int, int, float], ...]


def describe(
    run: RunFolder,
    state: State,
    weights: Path | None,
    license: str | None,
    data_license: str | None,
    base_model: str | None,
    language: Sequence[str],
) -> About:
    """What the cards say of a run; `weights` is the folder of the exported model, None where there is none."""
    settings = readable_settings(run)

    def path_at(key: str) -> str:
        found = setting_at(settings, key)
        return found if isinstance(found, str) else ""

    base, tasks = path_at("model.path") or "unknown", path_at("tasks.path") or "unknown"
    inputs = _json(run.path / RECORDS)
    refining = is_refining(run)
    if refining:
        tasks = str(inputs.get("path", "unknown"))
    others = ("start.references.path", "start.update.replay.path", "train.update.replay.path")
    read = [tasks, *([] if refining else map(path_at, others))]
    config = _json(weights / "config.json") if weights is not None else {}
    named = [hub_name(path) for path in dict.fromkeys(read)]
    english = all(path.startswith("toolbox") for path in read if path not in ("", "tasks"))
    spoken = tuple(language) or (("en",) if english else ())
    known = base_model or hub_name(base) or hub_name(str(_json(Path(base) / "config.json").get("_name_or_path", "")))
    files = {str(tasks): f"sha256 {inputs['sha256']} of the samples read"} if inputs.get("sha256") else _hashes(run)
    return About(
        run.name,
        base,
        tasks,
        license,
        data_license,
        (state.weights or weights.name) if weights is not None else "",
        known,
        tuple(name for name in named if name),
        spoken,
        settings,
        files,
        next(iter(config.get("architectures") or []), ""),
        refining,
        weights is not None and setting_at(settings, "model.prompt") == "text" and _refuses_system(weights),
    )


def hub_name(path: str) -> str:
    """The `owner/name` that a setting names on a hub, or "": a path that exists here is a folder."""
    try:
        found = data_name(path) or model_name(path)
    except HubError:
        return ""
    owner, slash, _ = found.repo.partition("/") if found is not None else ("", "", "")
    return found.repo if found is not None and slash and owner not in _FOLDERS else ""


def read_scores(folder: Path, weights: str) -> SuiteScores:
    """The scores that `funreason eval` wrote into `folder`. RecordError unless they are of these weights."""
    file = folder / "scores.json" if folder.is_dir() else folder
    try:
        data = json.loads(file.read_text())
        rows = [
            (str(r["name"]), int(r["correct"]), int(r["total"]), float(r["percent"]))
            for r in data["rows"]
            if r["total"]
        ]
        suite, measured = str(data["suite"]), str(data.get("weights") or "")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RecordError(
            f"--scores {folder}: expected the scores.json that `funreason eval` writes ({error})"
        ) from None
    if measured != weights:
        raise RecordError(
            f"--scores {folder}: these are scores of the weights {measured or 'of a server'}, and the run exports "
            f"{weights or 'no model'}. Measure it with: funreason eval --model RUN/model --suite {suite}"
        )
    return SuiteScores(suite, tuple(rows))


def model_card(state: State, about: About, found: RunVerdict | None = None, scores: Sequence[SuiteScores] = ()) -> str:
    """The model's README in Markdown, with front matter as hubs read it; `found` says how the run turned out."""
    model = _model_name(about)
    head: dict[str, Any] = {"license": about.license or "unknown"}
    gates = [r.gate for r in state.rounds.values() if r.gate is not None]
    trained = not gates or any(gate.decision == "promote" for gate in gates)
    if about.base_hub:
        head |= {"base_model": about.base_hub} | ({"base_model_relation": "finetune"} if trained else {})
    head |= {"datasets": list(about.data_hub)} if about.data_hub else {}
    head |= {"language": list(about.language)} if about.language else {}
    method = str(about.settings.get("method") or "srml")
    head |= {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["function-calling", "tool-use", "funreason", *([method] if re.fullmatch(r"\w+", method) else [])],
    }
    results = [*_gate_results(state, about), *_eval_results(scores)]
    if results:
        head["model-index"] = [{"name": model, "results": results}]
    rounds = [(k, r) for k, r in sorted(state.rounds.items()) if r.nodes and k != START]
    origins = sorted({origin for _, r in rounds for origin in r.origins})
    lines = [f"| round | trained on | {' | '.join(origins)} |", f"|---|---|{'---|' * len(origins)}"]
    for k, r in rounds:
        chosen = r.chosen.trained if r.chosen else 0
        lines.append(f"| {k} | {chosen} | {' | '.join(str(r.origins[o]) for o in origins)} |")
    supervised = ""
    if (start := state.rounds.get(START)) and start.chosen:
        supervised = (
            f"Before the rounds it was trained on {start.chosen.trained} reference answers, which is supervised "
            "training."
        )
        if start.fates:
            kept = sum(start.fates[fate] for fate in KEPT)
            supervised += f" Their thinking was taken from {kept} judged answers of another model."
    title = f"# {_md(model)}" + (f": {_md(found.result.removesuffix('.'))}" if found else "")
    parts = [
        _front(head),
        title,
        f"A function-calling model: {_base(about)}, trained by FunReason on its own judged answers to the queries "
        f"of {_data(about)}. Weights {_code(about.weights)} of the run {_md(about.name)}.",
        "" if trained else "No update was kept: these are the weights of the base model.",
        "\n".join(f"- {_md(line)}" for line in (found.title, *_gains(found), *found.sentences)) if found else "",
        supervised,
        f"## Usage\n\n{_usage(about)}",
        f"## Gate\n\n{GATE}\n\n{_gate_table(state)}",
        _score_tables(scores),
        "## Training\n\n" + _training(state, about),
        "## Data\n\nAnswers of the model that passed five stages of judgement. *Repaired* and *reference* answers are "
        "supervised: they were written from known right answers.\n\n" + "\n".join(lines),
        "## GGUF\n\n" + _gguf(about),
        "## Licence\n\n" + _licences(about),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def dataset_card(state: State, about: About, rows: int, origins: Counter[str]) -> str:
    """The data set's README in Markdown; `rows` and `origins` are of what was written."""
    head = _dataset_head(about, rows, "train.parquet")
    columns = "\n".join(f"| `{name}` | {text} |" for name, text in COLUMNS.items())
    counts = "\n".join(f"| {_md(origin)} | {count} |" for origin, count in origins.most_common())
    rounds = [r for k, r in state.rounds.items() if k != START]
    ended = sum(r.fates.total() for r in rounds)
    lost = sum((r.dead_reasons for r in rounds), Counter[str]())
    most = [*lost.most_common(REASONS)]
    rest = lost.total() - sum(count for _, count in most)
    dropped = "\n".join(f"| {_md(reason or 'attempts used up')} | {count} |" for reason, count in most)
    dropped += f"\n| others | {rest} |" if rest else ""
    unread = "".join(f"\n| not read: {_md(reason)} | {count} |" for reason, count in state.refused.most_common(REASONS))
    whose = "in a file" if about.refined else "that a model gave itself"
    refused = f" Not read: {_counted(state.refused.total(), 'record')}." if state.refused else ""
    parts = [
        _front(head),
        f"# {_md(Path(about.tasks).stem if about.refined else about.name)}: {_counted(rows, 'refined sample')}",
        f"{_counted(rows, 'answer')} {whose} to queries of {_data(about)}, which five stages of judgement "
        "kept: rows of one run, not a benchmark. A query may occur more than once."
        + (f" Judged: {_counted(ended, 'sample')}.{refused}" if ended else ""),
        "## Load it\n\n```python\nfrom datasets import load_dataset\n\n"
        'data = load_dataset("parquet", data_files="train.parquet", split="train")  # or load_dataset("ORG/NAME")\n'
        'print(data[0]["query"], data[0]["answer"])\n```',
        f"| origin | rows |\n|---|---|\n{counts}",
        f"## What was left out\n\n| reason | samples |\n|---|---|\n{(dropped + unread).strip()}"
        if lost or unread
        else "",
        f"## Columns\n\n| column | what it holds |\n|---|---|\n{columns}",
        "## How it was made\n\n" + _training(state, about),
        "## Licence\n\n" + _licences(about),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def messages_card(about: About, form: str, rows: int, rejected: int, without: int) -> str:
    """The README of samples as chat messages; `rejected` could not be written so, `without` lost their thinking."""
    columns = ("id", "messages", "tools") if form == "messages" else ("messages", "tools")
    head = _dataset_head(about, rows, "train.jsonl")
    # Declared as JSON, since arguments have other keys in each call; inferred columns would fill them up with nulls.
    dtypes = [{"name": name, "dtype": "string" if name == "id" else "json"} for name in columns]
    head["dataset_info"] = {"features": dtypes}
    left = f" Left out, because it cannot be written so: {_counted(rejected, 'sample')}." if rejected else ""
    left += f" This form has no place for thinking, which {_counted(without, 'sample')} had." if without else ""
    if form == "messages":
        how = (
            "Calls are `tool_calls` with their arguments as objects, thinking is `reasoning_content`; a chat template "
            "decides how both are written. For TRL:\n\n```python\nfrom datasets import load_dataset\nfrom trl import "
            'SFTConfig, SFTTrainer\n\ndata = load_dataset(".", split="train")  # this folder, or its name on a hub\n'
            'trainer = SFTTrainer("ORG/MODEL", train_dataset=data, args=SFTConfig(output_dir="tuned"))\n```\n\n'
            "The whole conversation is learned, unless the template marks what is the assistant's "
            "(`assistant_only_loss=True`)."
        )
    else:
        how = "A line is an example as OpenAI's fine-tuning takes it: upload `train.jsonl`."
    parts = [
        _front(head),
        f"# {_md(about.name)}: {_counted(rows, 'sample')} as chat messages",
        f"Samples that five stages of judgement kept, of {_data(about)}.{left}",
        how,
        "## Licence\n\n" + _licences(about),
    ]
    return "\n\n".join(parts) + "\n"


def _dataset_head(about: About, rows: int, file: str) -> dict[str, Any]:
    sizes = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
    return {
        "license": about.data_license or "unknown",
        **({"language": list(about.language)} if about.language else {}),
        **({"source_datasets": list(about.data_hub)} if about.data_hub else {}),
        "task_categories": ["text-generation"],
        "tags": ["function-calling", "tool-use", "funreason"],
        "size_categories": [next((name for most, name in sizes if rows < most), "1M<n<10M")],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": file}]}],
    }


def _model_name(about: About) -> str:
    base = about.base_hub or about.base
    name = "FunReason toolbox model" if base == "toolbox" else Path(base.partition("@")[0]).name or base
    return name if base == "toolbox" else f"{name} FunReason"


def _base(about: About) -> str:
    if about.base == "toolbox":
        return "the small model that the package funreason includes"
    return (
        f"[{_md(about.base_hub)}](https://huggingface.co/{about.base_hub})"
        if about.base_hub
        else _code(_place(about.base))
    )


def _data(about: About) -> str:
    if about.data_hub:
        return ", ".join(f"[{_md(name)}](https://huggingface.co/datasets/{name})" for name in about.data_hub)
    return _code(_place(about.tasks))


def _gains(found: RunVerdict) -> Iterator[str]:
    """The gain of all that was kept, by suite, with its interval."""
    for change in found.whole or found.rounds or found.start:
        if change.suite in found.intervals:
            low, high = (f"{100 * end:+.1f}" for end in found.intervals[change.suite])
            yield f"In all: {change.suite} {change.points:+.1f} points (95 % interval {low} to {high})."


def _gate_results(state: State, about: About) -> Iterator[dict[str, Any]]:
    """The accepted weights on the suites of the gate that measured them last, as a model index has results."""
    for k, r in sorted(state.rounds.items(), reverse=True):
        gate = r.gate
        if gate is None or about.weights not in (gate.old_weights, gate.new_weights):
            continue
        now = "new" if gate.new_weights == about.weights else "old"
        for suite, score in gate.by_slice.items():
            path = str(setting_at(about.settings, f"gate.suites.{suite}.path") or "")
            if not score.total:
                continue
            items = f"of {score.total} items of the gate, round {k}"
            metrics = [_metric(f"accuracy, % {items}", 100 * getattr(score, now) / score.total)]
            both = gate.balance_by_slice.get(suite)
            if both and both.has_both:
                metrics.append(_metric(f"mean accuracy of calls and refusals, % {items}", 100 * getattr(both, now)))
            yield _result(_suite_data(suite, path), metrics)
        return


def _eval_results(scores: Sequence[SuiteScores]) -> Iterator[dict[str, Any]]:
    for found in scores:
        for name, right, total, percent in found.rows:
            metric = _metric(f"accuracy of {name}, % ({right} of {total})", percent)
            yield _result(_suite_data(found.suite, found.suite) | {"config": name}, [metric])


def _suite_data(suite: str, path: str) -> dict[str, str]:
    if path in OFFICIAL:
        return {"type": BFCL, "name": "Berkeley Function-Calling Leaderboard v4"}
    place = path.partition(":")[2] or suite if path.startswith("toolbox:") else suite
    owner = "funreason-toolbox" if path.startswith("toolbox:") else "held-out"
    return {"type": f"{owner}/{re.sub(r'[^A-Za-z0-9_.-]', '-', place)}", "name": f"suite {suite}"}


def _metric(name: str, percent: float) -> dict[str, Any]:
    return {"type": "accuracy", "name": name, "value": round(percent, 2)}


def _result(data: dict[str, str], metrics: list[dict[str, Any]]) -> dict[str, Any]:
    return {"task": {"type": "text-generation", "name": "function calling"}, "dataset": data, "metrics": metrics}


def _score_tables(scores: Sequence[SuiteScores]) -> str:
    lines = [
        f"| {_md(found.suite)} | {_md(name)} | {right} of {total} | {percent:.2f} |"
        for found in scores
        for name, right, total, percent in found.rows
    ]
    head = "## Scores\n\nGreedy decoding, by `funreason eval`.\n\n| suite | category | right | % |\n|---|---|---|---|\n"
    return head + "\n".join(lines) if lines else ""


def _usage(about: About) -> str:
    """Code that asks the model one question, with the prompt that it was trained on."""
    from pydantic import ValidationError

    from funreason.calls.call_format import PYTHONIC
    from funreason.config import ConfigError
    from funreason.config.models import Model
    from funreason.policies.native_format import call_format_of
    from funreason.policies.prompts import dialogue_of

    try:
        model = Model.model_validate(about.settings.get("model") or {})
    except ValidationError:  # of another version
        model = Model()
    try:
        form = call_format_of(model)
    except (ConfigError, ModelError):  # a dialect of a file or folder that is not here
        form = PYTHONIC
    asked = dialogue_of(
        [{"role": "user", "content": EXAMPLE_QUERY}],
        [EXAMPLE_TOOL],
        style=model.prompt,
        tags=model.think_tags,
        variables=model.template,
        call_format=form,
    )
    messages = asked.messages
    if about.system_in_user_turn and messages[0]["role"] == "system":
        system, user = messages
        messages = [user | {"content": f"{system['content']}\n\n{user['content']}"}]
    more = "".join(f", {key}={value!r}" for key, value in model.template.items() if key.isidentifier())
    most = setting_at(about.settings, "sample.max_new_tokens") or 512
    call = form.render([Call("get_weather", {"city": "Oslo"})], [EXAMPLE_TOOL])
    opened, closed = model.think_tags
    lines = [
        "```python",
        "from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast",
        "",
        'path = "."  # this folder, or its name on a hub',
        "model = AutoModelForCausalLM.from_pretrained(path)",
        "tokenizer = PreTrainedTokenizerFast.from_pretrained(path)",
        "",
        f"messages = {json.dumps(messages, indent=4, ensure_ascii=False)}",
        f"tools = {asked.tools and json.dumps(asked.tools, indent=4, ensure_ascii=False)}",
        "prompt = tokenizer.apply_chat_template(",
        f"    messages, tools=tools, add_generation_prompt=True, tokenize=False{more}",
        ")",
        'inputs = tokenizer(prompt, return_tensors="pt", add_special_tokens=False, return_token_type_ids=False)',
        f"output = model.generate(**inputs, max_new_tokens={most}, do_sample=False)",
        'print(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :]))',
        "```",
    ]
    said = call.replace("\n", " ⏎ ")
    return "\n".join(lines) + (
        f"\n\nIt was taught to think between {_code(opened)} and {_code(closed)} and then to write calls as "
        f"{_code(said)}, or a sentence where no call is right. With `pip install funreason`, "
        "`funreason.calls.lenient.parse_any(text, tools)` reads them."
    )


def _training(state: State, about: About) -> str:
    """Command, settings, data, versions and machine: what it takes to do it again."""
    machine = state.machines[0] if state.machines else None
    rows: list[tuple[str, str]] = []
    if machine is not None and machine.command:
        rows.append(("command", _code(_published(machine.command))))
    for key in SHOWN_SETTINGS:
        value = setting_at(about.settings, key)
        other = key.startswith("reinforcement.") and about.settings.get("method") in (None, "srml", "hdr")
        if value is not None and not other and not (about.refined and key != "seed"):
            rows.append((_code(key), _code(json.dumps(value, ensure_ascii=False))))
    rows += [(f"data: {_code(Path(name).name)}", _code(said)) for name, said in about.files.items()]
    if machine is not None:
        rows.append(("versions", _md(", ".join(f"{name} {version}" for name, version in machine.versions.items()))))
        parts = [machine.cpu, f"{machine.cores} cores", *machine.gpus]
        rows.append(("machine", _md(", ".join(part for part in parts if part))))
    if not rows:
        return "The record does not say how it was made."
    return "| what | value |\n|---|---|\n" + "\n".join(f"| {name} | {value} |" for name, value in rows)


def _published(command: str) -> str:
    """A command without the folder of the runs and without addresses."""
    try:
        words = shlex.split(command)
    except ValueError:
        return command
    kept: list[str] = []
    for place, word in enumerate(words):
        before = words[place - 1] if place else ""
        after = words[place + 1] if place + 1 < len(words) else ""
        private = word == "--run-dir" or before == "--run-dir" or "://" in word
        if not private and not (word == "--set" and "://" in after):
            kept.append(word)
    return shlex.join(kept)


def _gguf(about: About) -> str:
    command = (
        "For llama.cpp, Ollama and LM Studio, with a checkout of llama.cpp:\n\n```bash\n"
        "python convert_hf_to_gguf.py . --outfile model.gguf --outtype q8_0\n```\n\n"
    )
    kind = _code(about.architecture or "unknown")
    if about.base == "toolbox":
        return (
            f"The script of llama.cpp knows tokenizers by what they do, and that of this small model ({kind}) is its "
            "own, so it is not converted."
        )
    if about.architecture in IN_LLAMA_CPP:
        return command + f"The script converts {kind}."
    known = ", ".join(f"`{name}`" for name in sorted(IN_LLAMA_CPP))
    return command + f"This model is {kind}. Known to be converted are {known}; see the script for others."


def _json(path: Path) -> dict[str, Any]:
    """The object that a file holds; empty where it cannot be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _hashes(run: RunFolder) -> dict[str, str]:
    """Hashes of the files that a run was made from, but for the model's, by the settings that name them."""
    found: dict[str, str] = {}
    inputs = _json(run.path / MARKS).get("inputs")
    for name, mark in inputs.items() if isinstance(inputs, dict) else ():
        pieces = mark.get("pieces") if isinstance(mark, dict) else None
        if not str(name).startswith("model") and isinstance(pieces, list) and pieces:
            joined = hashlib.sha256("".join(map(str, pieces)).encode()).hexdigest()[:32]
            one = str(pieces[0]) if len(pieces) == 1 else joined
            of = "" if len(pieces) == 1 else " of the hashes of its MiB"
            found[str(name)] = f"{mark.get('bytes')} bytes, sha256{of} begins with {one}"
    return found


def _refuses_system(weights: Path) -> bool:
    """Whether the model's chat template shows no system message, so that its text belongs to the user's turn."""
    try:
        from funreason.policies.model_files import load_tokenizer
        from funreason.policies.prompts import SHOWN, place_of_system

        return place_of_system(load_tokenizer(weights)) != SHOWN
    except (ModuleNotFoundError, ModelError):
        return False


def _front(head: dict[str, Any]) -> str:
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---"


def _gate_table(state: State) -> str:
    lines = ["| round | suite | items | old | new | 95 % | p | decision |", "|---|---|---|---|---|---|---|---|"]
    for k, r in sorted(state.rounds.items()):
        if r.gate is None:
            continue
        name = "start" if k == 0 else str(k)
        for suite, s in r.gate.by_slice.items():
            old, new = (f"{100 * right / max(1, s.total):.1f}" for right in (s.old, s.new))
            score = f"{s.total} | {old} | {new} | {100 * s.low:.1f}–{100 * s.high:.1f} | {s.p:.3f}"
            lines.append(f"| {name} | {_md(suite)} | {score} | {r.gate.decision} |")
            both = r.gate.balance_by_slice.get(suite)
            if both and both.has_both:
                balanced = f" | {100 * both.old:.1f} | {100 * both.new:.1f} |  | {both.p:.3f} |  |"
                lines.append(f"| {name} | {_md(suite)}, mean of calls and refusals |{balanced}")
        for suite, t in r.gate.text.items():
            bits = f"{t.tokens} tokens | {t.old:.4f} | {t.new:.4f} |  |  |  |"
            lines.append(f"| {name} | {_md(suite)}, bits per byte | {bits}")
    return "\n".join(lines)


def _licences(about: About) -> str:
    model, data = (f"{_md(word)}" if word else "not stated" for word in (about.license, about.data_license))
    if about.refined:
        return f"Data: {data}. It follows from that of {_data(about)}, look it up before you publish this."
    return (
        f"Model: {model}. Data: {data}. Both follow from those of {_base(about)} and of {_data(about)}, "
        "look them up before you publish this."
    )


def _place(path: str) -> str:
    """A path as a card may show it: of an absolute one only the name."""
    return Path(path).name if path.startswith(("/", "~")) else path


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _md(text: str) -> str:
    return in_markdown(plain(text))


def _code(text: str) -> str:
    return f"`{plain(text).replace('`', chr(39)).replace('|', '/')}`"
