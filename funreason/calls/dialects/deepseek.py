"""DeepSeek's marks, with wide bars and low blocks: V3 and R1 fence the arguments, V3.1 does not, V3.2 writes tags."""

from __future__ import annotations

import re
from collections.abc import Sequence

from funreason.calls.dialects.dialect import Dialect, Tools
from funreason.calls.dialects.framed import some
from funreason.calls.dialects.json_shapes import json_text
from funreason.calls.dialects.named_json import read_named
from funreason.calls.dialects.tags import Tags, read_tags
from funreason.calls.dialects.untyped import raw_value
from funreason.types import Call

_BEGIN, _END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
_CALL, _CALL_END, _SEPARATOR = "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁sep｜>"
# Models often write the marks with the bars and blocks of a keyboard.
_MARK = r"<[｜|]tool[▁_ ]{}[｜|]>"
_V3 = re.compile(
    _MARK.format("call[▁_ ]begin")
    + r"\s*+function\s*+"
    + _MARK.format("sep")
    + r"\s*+([^\s<>{}`][^<>{}\n`]{0,200})(?=\s*+[`{])"
)
_V31 = re.compile(_MARK.format("call[▁_ ]begin") + r"\s*+([^\s<>{}`][^<>{}\n`]{0,200})" + _MARK.format("sep"))
_BEGINS = ("call▁begin", "call_begin", "call begin")
_MARKS = (
    _BEGIN,
    "<｜tool_calls_begin｜>",
    "<|tool▁calls▁begin|>",
    "<|tool_calls_begin|>",
    _CALL,
    "<|tool_call_begin|>",
)

_DSML = "｜DSML｜"
_TAGS = Tags(
    begin=f"<{_DSML}invoke",
    call=re.compile(rf"<{_DSML}invoke\s+name=\"([^\"<>\n]{{1,200}})\"\s*>"),
    call_end=f"</{_DSML}invoke>",
    parameter=re.compile(rf"<{_DSML}parameter\s+name=\"([^\"<>\n]{{1,200}})\"(?:\s+string=\"(?:true|false)\")?\s*>"),
    parameter_end=f"</{_DSML}parameter>",
    string=re.compile(r"string=\"true\""),
)


def _write(calls: Sequence[Call], before: str, after: str) -> str:
    written = "".join(
        f"{_CALL}{before.format(call.name)}{json_text(call.arguments)}{after}{_CALL_END}" for call in some(calls)
    )
    return f"{_BEGIN}{written}{_END}"


def _write_tags(calls: Sequence[Call], tools: Tools) -> str:
    lines = [f"<{_DSML}function_calls>"]
    for call in some(calls):
        lines.append(f'<{_DSML}invoke name="{call.name}">')
        for key, value in call.arguments.items():
            text = "true" if isinstance(value, str) else "false"
            lines.append(f'<{_DSML}parameter name="{key}" string="{text}">{raw_value(value)}</{_DSML}parameter>')
        lines.append(f"</{_DSML}invoke>")
    return "\n".join([*lines, f"</{_DSML}function_calls>"])


DEEPSEEK = Dialect(
    name="deepseek",
    serves="DeepSeek V3 and R1",
    example=f'{_BEGIN}{_CALL}function{_SEPARATOR}get_weather\n```json\n{{"city": "Oslo"}}\n```{_CALL_END}{_END}',
    marks=_MARKS,
    read=lambda text, tools: read_named(text, _V3, _BEGINS),
    write=lambda calls, tools: _write(calls, f"function{_SEPARATOR}{{}}\n```json\n", "\n```"),
)
DEEPSEEK_V31 = Dialect(
    name="deepseek_v31",
    serves="DeepSeek V3.1",
    example=f'{_BEGIN}{_CALL}get_weather{_SEPARATOR}{{"city": "Oslo"}}{_CALL_END}{_END}',
    marks=_MARKS,
    read=lambda text, tools: read_named(text, _V31, _BEGINS),
    write=lambda calls, tools: _write(calls, f"{{}}{_SEPARATOR}", ""),
)
DEEPSEEK_V32 = Dialect(
    name="deepseek_v32",
    serves="DeepSeek V3.2",
    example=(
        f'<{_DSML}function_calls>\n<{_DSML}invoke name="get_weather">\n<{_DSML}parameter name="city" string="true">Oslo'
        f"</{_DSML}parameter>\n</{_DSML}invoke>\n</{_DSML}function_calls>"
    ),
    marks=(f"<{_DSML}function_calls>", f"<{_DSML}invoke"),
    read=lambda text, tools: read_tags(text, _TAGS, tools, (f"</{_DSML}function_calls>",)),
    write=_write_tags,
    typed=False,
)
