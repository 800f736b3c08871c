"""A whole configuration, and how it is read: a YAML file or a name in configs/, with changes from the command line.

Every wrong key or value is reported with its place, what was expected and the nearest known key, or its new name:
RENAMED lists the keys and values of earlier configurations. A key written twice in one group is refused: YAML itself
would silently take the last one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import ValidationError, model_validator
from rapidfuzz import process

from funreason.config.gate import Gate
from funreason.config.hard_data import HardData
from funreason.config.judges import AgentEntry, Fcdr
from funreason.config.method import Method, Reinforcement
from funreason.config.models import BudgetLimits, Data, Model, Sampling, Tasks
from funreason.config.section import CONFIGS, TOOLBOX, ConfigError, Count, Section, strange_category
from funreason.config.updates import SupervisedStart, Train, Update


class Config(Section):
    """A whole run."""

    method: Method = "srml"
    """How a round learns: `srml` from samples that passed all judges, `grpo` and `egpo` from rewards, step by step,
    `hdr` from tasks that failed before and are sampled again."""
    rounds: Count = 3
    """Rounds of the run, the supervised start not counted. Not used with `method: hdr`, see `hdr.max_rounds`."""
    seed: int = 0
    """The seed of everything random: tasks, samples, the order of training."""
    run_dir: Path = Path("runs")
    """Where run folders are made."""
    name: str | None = None
    """The run's folder under run_dir; by default made from the date."""
    model: Model = Model()
    tasks: Tasks = Tasks()
    data: Data = Data()
    start: SupervisedStart = SupervisedStart()
    sample: Sampling = Sampling()
    fcdr: Fcdr = Fcdr()
    agents: list[AgentEntry] = []
    """Custom agents, added to the graph in this order."""
    train: Train = Train()
    reinforcement: Reinforcement = Reinforcement()
    """Used with `method: grpo` and `egpo`, in place of `train`."""
    hdr: HardData = HardData()
    """Used with `method: hdr`, in addition to `train`."""
    gate: Gate = Gate()
    when_nothing_learned: Literal["ask", "continue"] = "ask"
    """After a round that trained nothing: `ask` on the terminal whether to play the next one, and stop where there is
    none (exit code 4); `continue` plays it."""
    budget: BudgetLimits = BudgetLimits()
    download: bool = False
    """Fetch models and data sets that are named as on a hub (`ORG/NAME`, `hf:ORG/NAME`). False: its cache alone."""

    @property
    def learns_from_rewards(self) -> bool:
        """Whether the method is one of reinforcement learning."""
        return self.method in ("grpo", "egpo")

    @property
    def resamples_hard_tasks(self) -> bool:
        """Whether the method is hard-data rounds."""
        return self.method == "hdr"

    def samples_hard_tasks(self, round: int) -> bool:
        """Whether a round is about hard tasks: every one after the first, which sorts the tasks."""
        return self.resamples_hard_tasks and round > 1

    def answers_with_references(self, round: int) -> bool:
        """Whether the tasks of a round are answered with their references, and not by a model."""
        if self.resamples_hard_tasks:
            return self.hdr.first_data == "references" and round == 1
        return self.train.data == "references"

    def init_from(self, round: int) -> str:
        """Which weights the update of a round after the start begins with: `accepted` or `base`."""
        return self.hdr.init_from if self.samples_hard_tasks(round) else self.train.init_from

    @property
    def planned_rounds(self) -> int:
        """How many rounds there are at most: with `method: hdr`, the first one and `hdr.max_rounds`."""
        return 1 + self.hdr.max_rounds if self.resamples_hard_tasks else self.rounds

    def with_rounds(self, rounds: int) -> Config:
        """The same with this many planned rounds, at least one."""
        if self.resamples_hard_tasks:
            return self.model_copy(update={"hdr": self.hdr.model_copy(update={"max_rounds": rounds - 1})})
        return self.model_copy(update={"rounds": rounds})

    @property
    def round_update(self) -> Update:
        """How a round trains."""
        return self.reinforcement.update if self.learns_from_rewards else self.train.update

    @property
    def graph(self) -> str:
        """The graph file: `fcdr.graph`, whose default is the one of the method."""
        if self.fcdr.graph != "fcdr":
            return self.fcdr.graph
        return "grpo" if self.learns_from_rewards else "hdr" if self.resamples_hard_tasks else "fcdr"

    @model_validator(mode="before")
    @classmethod
    def _hard_data_learns_its_alpha(cls, given: Any) -> Any:
        """With `method: hdr` alpha is learned (the paper's SSB), unless the configuration says otherwise."""
        if not isinstance(given, dict) or given.get("method") != "hdr":
            return given
        train = given.get("train") or {}
        update = train.get("update") if isinstance(train, dict) else None
        if not isinstance(train, dict) or not isinstance(update or {}, dict):
            return given  # reported by the section itself
        return given | {"train": train | {"update": {"alpha_mode": "learnable"} | (update or {})}}

    @model_validator(mode="after")
    def _hard_data_that_can_be_judged(self) -> Config:
        if not self.resamples_hard_tasks:
            return self
        if self.train.data != "judged":
            raise ValueError(
                f"method is hdr, and train.data is {self.train.data}: that is a control of method: srml. The control "
                "of hard data is hdr.control=random_qualified"
            )
        if self.hdr.repair_labels and self.fcdr.llm.model is None and not self.fcdr.llm.endpoints:
            raise ValueError(
                "hdr.repair_labels is true, and fcdr.llm names no model: only a judge can say that a reference is "
                "wrong. Set fcdr.llm.endpoints or fcdr.llm.model"
            )
        return self

    @model_validator(mode="after")
    def _samples_that_can_be_rewarded(self) -> Config:
        """What a policy gradient samples from must be the distribution that it trains."""
        if not self.learns_from_rewards:
            return self
        method, sample = f"method is {self.method}", self.sample
        if self.train.data != "judged":
            raise ValueError(f"{method}, and train.data is {self.train.data}: that is a control of method: srml")
        if self.method == "grpo" and self.reinforcement.loss.bonus is not None:
            raise ValueError(f"{method}, and reinforcement.loss.bonus is given: the bonus is EGPO's, method: egpo")
        if sample.top_p < 1:
            raise ValueError(
                f"{method}, and sample.top_p is {sample.top_p}: a truncated distribution is not the one that is "
                "trained, so every ratio would be wrong. Set sample.top_p=1"
            )
        if sample.endpoints:
            raise ValueError(
                f"{method}, and sample.endpoints is given: servers answer with other weights than those that learn, "
                "and may cut (top_p, top_k) or constrain what they draw. Sample with model.sampler: huggingface or vllm"
            )
        return self

    @model_validator(mode="after")
    def _known_categories(self) -> Config:
        """Only the embedded domain's categories are known before its tasks are read."""
        shares, path = self.train.max_category_share, self.tasks.path
        if path.startswith(TOOLBOX) and (wrong := strange_category(shares, path)):
            raise ValueError(f"train.max_category_share is {shares!r}, and tasks.path is {path!r}: {wrong}")
        return self

    @model_validator(mode="after")
    def _a_teacher_has_a_server(self) -> Config:
        asked = self.start.references is not None and self.start.thinking == "model"
        if asked and not (self.start.teacher.endpoints or self.sample.endpoints):
            raise ValueError(
                "start.thinking is model, and no server is named whose model writes the thinking: set "
                "start.teacher.endpoints to [{url: http://localhost:8000/v1}], or start.thinking to template"
            )
        return self


_UPDATE = {
    "batch": "batch_size",
    "average": "loss_reduction",
    "head": "lm_head",
    "head_chunk": "lm_head_chunk",
    "pack": "packing",
    "warmup_steps": "lr_warmup_steps",
    "warmup_ratio": "lr_warmup_ratio",
}

RENAMED = {
    "warmup": "start",
    "sample.k": "sample.samples_per_task",
    "fcdr.judging": "fcdr.stages",
    "fcdr.judges": "agents",
    "fcdr.judges.seconds": "agents.timeout_s",
    "agents.seconds": "agents.timeout_s",
    "fcdr.llm.draws": "fcdr.llm.samples_per_model",
    "fcdr.llm.asks": "fcdr.llm.max_attempts",
    "fcdr.llm.accept": "fcdr.llm.vote",
    "fcdr.accept": "fcdr.llm.vote",
    "fcdr.threshold": "fcdr.llm.threshold",
    "fcdr.error_limit": "fcdr.max_error_rate",
    "fcdr.agreement": "fcdr.self_agreement_share",
    "fcdr.workers": "fcdr.max_in_flight",
    "train.learn_from": "train.data",
    "train.most_solved": "train.max_solved_share",
    "train.per_task": "train.max_per_task",
    "train.quotas": "train.max_category_share",
    "train.counts": "train.exact_counts",
    "gate.p": "gate.p_value",
    "gate.significant": "gate.promote_p",
    "gate.contamination.near": "gate.contamination.near_threshold",
    **{
        f"{section}.update.{old}": f"{'start' if section == 'warmup' else section}.update.{new}"
        for section in ("warmup", "start", "train")
        for old, new in _UPDATE.items()
    },
}
"""Old dotted key to new dotted key. A renamed section stands for all its keys; list positions are left out."""

RENAMED_VALUES = {
    "sample.render": {"here": "local"},
    "gate.suites.*.role": {"decide": "decision", "watch": "report"},
}
"""By dotted key, with `*` for a name of the user's own: old value to new value."""


def new_name(key: str) -> str | None:
    """What the dotted key `key` is called now, if it or a section around it was renamed."""
    head, tail = key, ""
    while head:
        if head in RENAMED:
            return RENAMED[head] + tail
        head, dot, last = head.rpartition(".")
        tail = f"{dot}{last}{tail}"
    return None


def new_value(key: str, value: Any) -> str | None:
    """What the value of the dotted key is called now, if it was renamed."""
    for pattern, values in RENAMED_VALUES.items():
        if fnmatchcase(key, pattern) and isinstance(value, str):
            return values.get(value)
    return None


def renamed_inside(key: str, value: Any) -> Iterator[tuple[str, str]]:
    """The keys within `value`, the value of `key`, that have a new name of their own, each with that name."""
    for item in value if isinstance(value, list) else [value]:
        for name, inner in item.items() if isinstance(item, dict) else ():
            inside = f"{key}.{name}"
            if inside in RENAMED:
                yield inside, RENAMED[inside]
            yield from renamed_inside(inside, inner)


MERGE = "tag:yaml.org,2002:merge"
COMMAND_LINE = "the command line"
REWARD = "reinforcement.reward"


class _DuplicateKey(Exception):
    """A key is written twice; says where."""


class _Loader(yaml.SafeLoader):
    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == MERGE:
                continue
            name, line = (key.tag, key.value), key.start_mark.line + 1
            if name in lines:
                raise _DuplicateKey(
                    f"{key.value} is written twice in one group, in lines {lines[name]} and {line}: keep one."
                )
            lines[name] = line
        return node


def read_yaml_file(path: Path) -> Any:
    """The content of a YAML file; ConfigError names the file."""
    try:
        return read_yaml(path.read_text(), str(path))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not readable YAML: {error}") from error


def read_yaml(text: str, where: str) -> Any:
    """The content of a YAML text; a ConfigError's message begins with `where`."""
    try:
        return yaml.load(text, _Loader)
    except _DuplicateKey as error:
        raise ConfigError(f"{where}: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{where} is not readable YAML: {error}") from error


def load_config(path: str | Path, changes: dict[str, Any] | None = None) -> Config:
    """Read a configuration by path or by its name in configs/; `changes` maps dotted keys to values and wins.

    Files of custom agents are looked for beside the configuration, those named in `changes` in the working directory.
    A ConfigError says whether the file or the command line is wrong.
    """
    file = find_config(path)
    data = read_yaml_file(file)
    if not isinstance(data, dict):
        raise ConfigError(f"{file} must hold a mapping of settings, found {type(data).__name__}")
    if _is_graph(data):
        raise ConfigError(
            f"{file} is a graph and no configuration: give one of {', '.join(_names())}, and the graph by "
            f"--set fcdr.graph={path}"
        )
    config = _changed(data, changes, str(file)) if changes else check_config(data, str(file))
    return with_absolute_agents(
        config, Path.cwd() if {"agents", REWARD} & (changes or {}).keys() else file.resolve().parent
    )


def _changed(data: dict[str, Any], changes: dict[str, Any], file: str) -> Config:
    """A file's settings with `changes` applied. A ConfigError says whether the file or a change is wrong."""
    try:
        return Config.model_validate(with_changes(data, changes))
    except ValidationError as error:
        own = _faults(data)
        lines = []
        for fault in error.errors():
            key = ".".join(str(part) for part in fault["loc"])
            changed_here = any(f"{key}.".startswith(f"{change}.") for change in changes)
            # In the file, unless its key was changed or is only wrong because of a change.
            source = COMMAND_LINE if changed_here or (fault["loc"], fault["type"]) not in own else file
            lines += [f"{source}: {line}" for line in _sentences(fault)]
        raise ConfigError("\n".join(lines)) from error


def with_changes(data: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as nested plain data, with other values at some dotted keys. ConfigError where a key is no group."""
    changed = dict(data)
    for key, value in changes.items():
        group = changed
        *path, last = key.split(".")
        for part in path:
            inner = group.get(part)
            if inner is not None and not isinstance(inner, dict):
                raise ConfigError(f"--set {key}: {part} is {inner!r}, not a group of settings")
            # A copy: in YAML several groups may be one (`&name`, `*name`), and only this one changes.
            group[part] = dict(inner or {})
            group = group[part]
        group[last] = value
    return changed


def find_config(path: str | Path) -> Path:
    """The file of a configuration; ConfigError lists the names in configs/."""
    for file in (Path(path), CONFIGS / f"{path}.yaml"):
        if file.is_file():
            return file
    best = process.extractOne(str(path), _names())
    hint = f" Did you mean {best[0]}?" if best and best[1] >= 70 else ""
    raise ConfigError(f"no configuration {path}: neither a file nor one of {', '.join(_names())}.{hint}")


def check_config(data: dict[str, Any], where: str) -> Config:
    """Validate plain data; ConfigError names every wrong key, what was expected and the nearest known key."""
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        lines = [line for fault in error.errors() for line in _sentences(fault)]
        raise ConfigError("\n".join(f"{where}: {line}" for line in lines)) from error


def parse_setting(text: str) -> tuple[str, Any]:
    """`key=value` from the command line; the value is read as YAML."""
    key, found, value = text.partition("=")
    if not found:
        raise ConfigError(f"--set {text}: expected key=value, such as sample.samples_per_task=8")
    return key.strip(), read_yaml(value, f"--set {text}: the value")


def dump_config(config: Config) -> str:
    """The configuration as YAML, every default spelled out."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, width=120)


def with_absolute_agents(config: Config, folder: Path) -> Config:
    """The same with absolute paths to the files of agents and reward, so that a run can be resumed from another folder.

    A relative path is looked for in `folder`, then in the working directory.
    """

    def absolute(spec: str) -> str:
        file, name = (spec, "") if spec.endswith(".py") else spec.rpartition(":")[::2]
        if not file.endswith(".py"):
            return spec
        beside, here = (folder / file).resolve(), Path(file).resolve()
        found = here if here.is_file() and not beside.is_file() else beside
        return f"{found}:{name}" if name else str(found)

    agents = [entry.model_copy(update={"agent": absolute(entry.agent)}) for entry in config.agents]
    rewards = config.reinforcement.model_copy(update={"reward": absolute(config.reinforcement.reward)})
    return config.model_copy(update={"agents": agents, "reinforcement": rewards})


def _names() -> list[str]:
    """The configurations in configs/, which holds graphs as well."""
    return sorted(p.stem for p in CONFIGS.glob("*.yaml") if not _is_graph(read_yaml_file(p)))


def _is_graph(data: Any) -> bool:
    return isinstance(data, dict) and {"nodes", "edges"} <= data.keys()


def _faults(data: dict[str, Any]) -> set[tuple[tuple[Any, ...], str]]:
    """The place and type of every error in plain data."""
    try:
        Config.model_validate(data)
    except ValidationError as error:
        return {(e["loc"], e["type"]) for e in error.errors()}
    except ConfigError:
        pass  # raised by a validator itself, so it has no place to compare
    return set()


def _sentences(error: Any) -> Iterator[str]:
    key = ".".join(str(part) for part in error["loc"])
    named = ".".join(str(part) for part in error["loc"] if not isinstance(part, int))
    if not key:  # an error about several settings names them itself
        yield str(error["ctx"]["error"]) if "ctx" in error else str(error["msg"])
    elif error["type"] != "extra_forbidden":
        now = new_value(named, error["input"])
        hint = f". {error['input']} is called {now} now." if now else ""
        yield f"{key} is {error['input']!r}: {error['msg'].removeprefix('Value error, ')}{hint}"
    elif name := new_name(named):
        yield f"unknown key {key}: it is called {name} now."
        for old, new in renamed_inside(named, error["input"]):
            yield f"unknown key {old}: it is called {new} now."
    else:
        section: type[Section] = Config
        for part in error["loc"][:-1]:
            field = section.model_fields.get(str(part))
            if field is None:
                continue  # a list index or the key of a mapping: stay with its item type
            section = _section_of(field.annotation) or section
        known = list(section.model_fields)
        best = process.extractOne(str(error["loc"][-1]), known)
        nearest = f" Did you mean {best[0]}?" if best and best[1] >= 55 else ""
        yield f"unknown key {key}.{nearest} Known here: {', '.join(known)}."


def _section_of(annotation: Any) -> type[Section] | None:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _section_of(inner)
        if found:
            return found
    return None
