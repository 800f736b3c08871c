"""The base model's tokenizer: byte-level BPE whose words never carry a blank, trained on familiar tasks and plain text.

Because a word has the same ids in the query, in the thinking and between quotes, copying is copying of ids.
Digits stand alone for the same reason. The unseen themes lend no text to it.
"""

from __future__ import annotations

import re

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from funreason.calls.render import render_calls
from funreason.calls.thinking import join_thinking
from funreason.data.toolbox import generate
from funreason.types import Task

WORDS = r"[A-Za-z]+|\d| ?[^A-Za-z\d\s]+ ?|\s"
CONTROL = ("<|pad|>", "<|end|>", "<|tools|>", "<|system|>", "<|user|>", "<|assistant|>")
THINK = ("<think>", "</think>")

TEMPLATE = """\
{%- macro kind(p) -%}
{%- if p is not mapping -%}any
{%- elif p['enum'] is defined and p['enum'] -%}{{ p['enum'] | join('|') }}
{%- elif p['type'] is not defined -%}any
{%- elif p['type'] is not string -%}{{ p['type'] | join('|') }}
{%- elif p['type'] == 'array' and p['items'] is defined -%}{{ kind(p['items']) }}[]
{%- else -%}{{ p['type'] }}
{%- endif -%}
{%- endmacro -%}
{%- if tools -%}
<|tools|>
{%- for entry in tools -%}
{%- set tool = entry['function'] if entry['function'] is defined else entry -%}
{%- set shape = tool['parameters'] if tool['parameters'] is mapping else {} -%}
{%- set fields = shape['properties'] if shape['properties'] is mapping else {} -%}
{%- set required = shape['required'] if shape['required'] is defined else [] -%}
{%- if tool['description'] -%}{{ tool['description'].strip().split('\\n')[0] }}: {% endif -%}
{{ tool['name'] }}({% for name, p in fields.items() -%}
{{ name }} {{ kind(p) }}{{ '' if name in required else '?' }}{{ '' if loop.last else ', ' }}
{%- endfor %}){{ '\\n' }}
{%- endfor -%}
{%- endif -%}
{%- for message in messages -%}
{%- set text = message['content'] if message['content'] is string else (message['content'] or '') | tojson -%}
{%- if message['role'] == 'assistant' -%}<|assistant|>{{ text }}<|end|>
{%- elif message['role'] == 'system' -%}<|system|>{{ text }}
{%- else -%}<|user|>{{ text }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}
"""

PLAIN = """The quick answer to a hard question is often not the right one. One two three four five six seven eight
nine ten eleven twelve people came on Monday, Tuesday, Wednesday, Thursday, Friday, Saturday or Sunday. In January,
February, March, April, May, June, July, August, September, October, November and December the year goes round. We have
been there before, and we shall go again when the time is right, because it would be wrong to stay. Which of these
should they take, and why?
{"name": "get_value", "description": "Returns the value of a key.", "parameters": {"type": "object", "properties":
{"key": {"type": "string", "enum": ["first", "second"]}, "count": {"type": "integer"}, "ratio": {"type": "number"},
"flag": {"type": "boolean"}, "items": {"type": "array"}}, "required": ["key"]}} True False None null true false
There is no tool for that. I cannot do this. Please tell me more about what you want. The user asks for the result of a
search. First, find the data; second, check it; then write the report. Open the file, read every line, and close it.
"""


def train_tokenizer(seed: int, tasks: int = 6000, vocabulary: int = 1280) -> PreTrainedTokenizerFast:
    """A tokenizer of `vocabulary` entries from the text of `tasks` pre-training tasks, with its chat template."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(WORDS), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    added = [AddedToken(text, special=True, normalized=False) for text in CONTROL]
    added += [AddedToken(text, special=False, normalized=False) for text in THINK]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=added,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(seed, tasks), trainer)
    return _wrapped(tokenizer)


def prompt_text(task: Task, tokenizer: PreTrainedTokenizerFast) -> str:
    """The prompt as the tokenizer's own template writes it."""
    message = [{"role": "user", "content": task.query}]
    return str(tokenizer.apply_chat_template(message, tools=task.tools, add_generation_prompt=True, tokenize=False))


def target_text(task: Task) -> str:
    """What the model is to write for a task, without the end token."""
    answer = render_calls(task.reference) if task.reference else task.reference_text or ""
    return join_thinking(task.reference_thinking, answer)


def _wrapped(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=CONTROL[0],
        eos_token=CONTROL[1],
        chat_template=TEMPLATE,
        model_max_length=4096,
        clean_up_tokenization_spaces=False,
    )


def _texts(seed: int, tasks: int) -> list[str]:
    # The control tokens are cut out: no merge may run across them.
    blank, texts = _wrapped(Tokenizer(models.BPE())), [PLAIN] * 20
    for task in generate("pretrain", tasks, seed):
        texts += re.split(r"<\|\w+\|>|</?think>", prompt_text(task, blank) + target_text(task))
    return texts
