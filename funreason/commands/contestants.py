"""Who answers an evaluation: a model folder in this process, or the model behind an address."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from funreason.commands.settings import read_config
from funreason.config import ConfigError
from funreason.policies.endpoint.budget import Spent
from funreason.policies.factory import budget_of, build_policy, endpoint_sampler, model_path, served_policy
from funreason.policies.policy import Policy

MOST_TOKENS, CONTEXT_SHARE = 4_096, 4


class Asked(NamedTuple):
    """Who is to answer: a model folder, or an address with the model's name there and its key's variable."""

    model: str
    endpoint_model: str | None = None
    key_env: str | None = None

    @property
    def served(self) -> bool:
        """Whether it is an address."""
        return "://" in self.model

    @property
    def name(self) -> str:
        """What the result folder is called after: a folder's name, a server's model, or else its address."""
        if not self.served:
            return Path(self.model).resolve().name
        return Path(self.endpoint_model).name if self.endpoint_model else urlsplit(self.model).netloc


class Contestant(NamedTuple):
    """Who answers, and under what name: `weights` of `model`, with answers of at most `max_new_tokens`."""

    policy: Policy
    model: str
    weights: str
    max_new_tokens: int

    def cost(self) -> str | None:
        """What servers were asked for, in a sentence; None where none was."""
        pool = getattr(self.policy.sampler, "pool", None)
        if pool is None:
            return None
        spent: Spent = pool.meter.spent
        guess = f" ({spent.estimated:,} of them estimated)" if spent.estimated else ""
        again = f"; {spent.retries:,} sent again, {spent.failed:,} given up" if spent.retries or spent.failed else ""
        return f"{spent.requests:,} requests, {spent.tokens:,} tokens{guess}{again}"


def contestant(asked: Asked, max_new_tokens: int | None, settings: list[str]) -> Contestant:
    """Who was asked for, ready to answer; by default with a quarter of its context per answer, at most 4,096 tokens."""
    make = _served if asked.served else _local
    return make(asked, max_new_tokens, settings)


def longest_answer(folder: Path) -> int:
    """A quarter of the model's context, at most 4,096 tokens: room for thinking, and for the functions."""
    try:
        data = json.loads((folder / "config.json").read_text())
        context = data.get("text_config", data)["max_position_embeddings"]
    except (OSError, ValueError, AttributeError, KeyError):
        return MOST_TOKENS  # the loader is next, and says what is wrong with the folder
    return min(MOST_TOKENS, int(context) // CONTEXT_SHARE)


def slug(text: str) -> str:
    """`text` as part of a folder's name."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-")


def _local(asked: Asked, max_new_tokens: int | None, settings: list[str]) -> Contestant:
    tokens = max_new_tokens or longest_answer(model_path(asked.model))
    config = read_config("default", {"model.path": asked.model, "sample.max_new_tokens": tokens}, settings)
    policy, base = build_policy(config)
    return Contestant(policy, str(model_path(asked.model)), base.id, config.sample.max_new_tokens)


def _served(asked: Asked, max_new_tokens: int | None, settings: list[str]) -> Contestant:
    here = {"url": asked.model, "model": asked.endpoint_model, "key_env": asked.key_env}
    given = {"sample.endpoints": [here], "sample.max_new_tokens": max_new_tokens or MOST_TOKENS}
    config = read_config("default", given, settings)
    sampler = endpoint_sampler(config, budget_of(config))
    if sampler is None:
        raise ConfigError(f"--model {asked.model} is an address, but sample.endpoints was set to nothing")
    if max_new_tokens is None and sampler.pool.context:
        sampler.max_new_tokens = min(sampler.max_new_tokens, sampler.pool.context // CONTEXT_SHARE)
    policy = served_policy(config, sampler, None, lambda: None)
    return Contestant(policy, asked.model, sampler.weights_id, sampler.max_new_tokens)
