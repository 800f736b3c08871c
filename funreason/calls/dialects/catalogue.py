"""Every dialect, by name: those of the package and those that plug-ins add.

An installed package offers a dialect through an entry point of the group `funreason.dialects`; its value names a
`Dialect`, as `package.module:NAME`. A configuration names one as `module:NAME` or `path/to/file.py:NAME`.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from importlib.metadata import entry_points

from funreason.calls.dialects.dialect import Dialect
from funreason.calls.dialects.framed import (
    APERTUS,
    COMMAND_A,
    COMMAND_R,
    FUNCTION_CALL,
    FUNCTOOLS,
    GLAIVE,
    GRANITE,
    HERMES,
    INTERNLM,
    LONGCAT,
    MISTRAL,
    NVIDIA,
    PHI,
    PYTHON_TAG,
    TOOL_CALLS,
    TOOL_REQUEST,
)
from funreason.calls.dialects.gemma import FUNCTION_GEMMA, GEMMA4
from funreason.calls.dialects.json_text import ANTHROPIC, JSON, LLAMA_JSON, OPENAI
from funreason.calls.dialects.named_json import (
    DEEPSEEK,
    DEEPSEEK_V31,
    FUNCTION_TAG,
    FUNCTIONARY,
    HARMONY,
    KIMI,
    MISTRAL_ARGS,
    QWEN_AGENT,
    REACT,
)
from funreason.calls.dialects.python_frames import (
    CHATGLM,
    FENCED,
    GORILLA,
    LFM,
    LLAMA4,
    NEXUS,
    OLMO,
    TOOL_CODE,
)
from funreason.calls.dialects.pythonic import FREE_NAMES, PYTHONIC
from funreason.calls.dialects.tags import ANTHROPIC_XML, DEEPSEEK_V32, GLM, MINIMAX, QWEN_CODER, SEED
from funreason.plugins import PluginError, load_object

GROUP = "funreason.dialects"
OF_THE_PACKAGE = (
    PYTHONIC,
    JSON,
    OPENAI,
    ANTHROPIC,
    LLAMA_JSON,
    HERMES,
    QWEN_CODER,
    GLM,
    FUNCTION_CALL,
    NVIDIA,
    TOOL_CALLS,
    PYTHON_TAG,
    FUNCTION_TAG,
    MISTRAL,
    MISTRAL_ARGS,
    PHI,
    GRANITE,
    FUNCTOOLS,
    DEEPSEEK,
    DEEPSEEK_V31,
    DEEPSEEK_V32,
    KIMI,
    ANTHROPIC_XML,
    MINIMAX,
    FUNCTION_GEMMA,
    GEMMA4,
    COMMAND_R,
    COMMAND_A,
    HARMONY,
    REACT,
    FREE_NAMES,
    GLAIVE,
    LLAMA4,
    LFM,
    OLMO,
    SEED,
    QWEN_AGENT,
    INTERNLM,
    LONGCAT,
    APERTUS,
    FUNCTIONARY,
    GORILLA,
    NEXUS,
    CHATGLM,
    TOOL_REQUEST,
    TOOL_CODE,
    FENCED,
)
"""In the order in which they are tried where two begin at the same place."""

_known: dict[str, Dialect] = {dialect.name: dialect for dialect in OF_THE_PACKAGE}
_owners: dict[str, dict[int, Dialect]] = {}
"""The dialects that have a mark, with their rank, by mark; filled when first needed."""
_offers_loaded = False


def dialects() -> Sequence[Dialect]:
    """All known dialects: the package's, then those of installed plug-ins and those that were registered.

    An installed plug-in that cannot be loaded is left out with a RuntimeWarning: it must not stop a command that does
    not need it.
    """
    global _offers_loaded
    if not _offers_loaded:
        _offers_loaded = True
        for entry in entry_points(group=GROUP):
            try:
                register(_checked(load_object(entry.value, "dialect", from_here=False), entry.value))
            except PluginError as error:
                warnings.warn(f"the dialect {entry.name!r} is not used: {error}", RuntimeWarning, stacklevel=2)
    return tuple(_known.values())


def candidates(text: str) -> list[Dialect]:
    """The dialects of which a mark is in `text`, in the order of `dialects`: the few that are worth asking."""
    if not _owners:
        for rank, dialect in enumerate(dialects()):
            for mark in dialect.marks:
                _owners.setdefault(mark, {})[rank] = dialect
    tagged, found = "<" in text, dict[int, Dialect]()
    for mark, owners in _owners.items():
        if (tagged or "<" not in mark) and mark in text:
            found |= owners
    return [found[rank] for rank in sorted(found)]


def register(dialect: Dialect) -> Dialect:
    """Let texts be read in `dialect` from now on, in this process. PluginError when another one has its name."""
    known = _known.setdefault(dialect.name, dialect)
    _owners.clear()
    if known is not dialect and known != dialect:
        raise PluginError(f"two dialects are named {dialect.name!r}; give one of them another name")
    return known


def dialect_named(name: str) -> Dialect:
    """The dialect called `name`, or that a `module:NAME` or `path/to/file.py:NAME` loads. PluginError without one."""
    if ":" in name:
        return register(_checked(load_object(name, "dialect"), name))
    for dialect in dialects():
        if dialect.name == name:
            return dialect
    there = ", ".join(sorted(dialect.name for dialect in dialects()))
    raise PluginError(f"no dialect is named {name!r}. Known: {there}; or `module:NAME`, or `path/to/file.py:NAME`.")


def _checked(found: object, spec: str) -> Dialect:
    if not isinstance(found, Dialect):
        raise PluginError(f"dialect {spec!r}: expected a funreason.calls.dialects.dialect.Dialect, found {found!r:.80}")
    return found
