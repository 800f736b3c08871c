"""Which token ends the assistant's turn: the one the chat template writes, not the one the tokenizer calls its end.

The two differ where a family's tokenizer names the end of a text (`<|end_of_text|>`) and its template the end of a turn
(`<|eot_id|>`). A model taught the wrong one never stops where its own prompts do.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SAID = "what the assistant said"


def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The id of the first special token behind an assistant's message; else the tokenizer's own end; else None."""
    written = _behind_a_message(tokenizer)
    specials = [token for token in tokenizer.all_special_tokens if token]
    added = [str(token) for token in tokenizer.get_added_vocab()]
    known = sorted({*specials, *added}, key=len, reverse=True)
    found = re.search("|".join(map(re.escape, known)), written) if known else None
    if found is not None:
        written_id = tokenizer.convert_tokens_to_ids(found.group())
        assert isinstance(written_id, int)  # one token asked for, one id given
        return written_id
    end = tokenizer.eos_token_id
    return end if isinstance(end, int) else None


def _behind_a_message(tokenizer: PreTrainedTokenizerBase) -> str:
    """What the template writes behind an assistant's message; empty where it has nothing to say about one."""
    from jinja2 import TemplateError

    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": SAID}]
    try:
        text = str(tokenizer.apply_chat_template(messages, tokenize=False))
    except (TypeError, ValueError, TemplateError):
        return ""  # a template for prompts alone: its model ends as the tokenizer says
    return text.rpartition(SAID)[2] if SAID in text else ""
