"""A chat model for tests that answers from a script."""

import asyncio

from funreason.calls.tools import normalise_tools
from funreason.policies.protocol import Reply

TOOLS = normalise_tools([{"name": "f", "description": "does f", "parameters": {"a": {"type": "str"}}}])
YES, NO = "All criteria hold. <judge>True</judge>", "The second fails. <judge>False</judge>"


class Scripted:
    """A chat model that answers from a script: texts by turns, or a function of the messages."""

    supports_json_schema = False
    weights_id = "w1"

    def __init__(self, *script, name="scripted", supports_json_schema=False):
        self.script, self.name, self.supports_json_schema = script, name, supports_json_schema
        self.asked, self.options = [], []

    async def reply(self, messages, *, temperature, max_tokens, schema=None, seed=None):
        await asyncio.sleep(0)
        answer = self.script[len(self.asked) % len(self.script)]
        self.asked.append(messages)
        self.options.append({"temperature": temperature, "max_tokens": max_tokens, "schema": schema, "seed": seed})
        if isinstance(answer, Exception):
            raise answer
        text = answer(messages) if callable(answer) else answer
        return Reply(text, tokens=10, truncated=len(text) > 5000)
