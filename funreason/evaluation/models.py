"""Which model answers an evaluation: a folder loaded into this process, or an OpenAI-compatible server."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from funreason.config import Config, ConfigError, find_config, load_config, parse_setting
from funreason.hub import model_name
from funreason.policies.endpoint.budget import Spent
from funreason.policies.factory import (
    budget_of,
    build_policy,
    endpoint_sampler,
    model_folder,
    model_path,
    served_policy,
)
from funreason.policies.policy import Policy

MOST_TOKENS, CONTEXT_SHARE = 4_096, 4


class ModelChoice(NamedTuple):
    """The model to evaluate: a folder, or an address with the model's name there and the variable of its key."""

    model: str
    endpoint_model: str | None = None
    key_env: str | None = None

    @property
    def served(self) -> bool:
        """Whether it is an address."""
        return "://" in self.model

    @property
    def name(self) -> str:
        """The name for the result folder: a folder's name, a server's model, or else its address."""
        if not self.served:
            on_hub = model_name(self.model)
            return on_hub.repo.rpartition("/")[2] if on_hub else Path(self.model).resolve().name
        return Path(self.endpoint_model).name if self.endpoint_model else urlsplit(self.model).netloc


class LoadedModel(NamedTuple):
    """A policy that answers, under the name of `model`: `weights`, with answers of at most `max_new_tokens`."""

    policy: Policy
    model: str
    weights: str
    max_new_tokens: int

    def cost(self) -> str | None:
        """Requests and tokens at servers, in a sentence; None where no server was asked."""
        pool = getattr(self.policy.sampler, "pool", None)
        if pool is None:
            return None
        spent: Spent = pool.meter.spent
        guess = f" ({spent.estimated:,} of them estimated)" if spent.estimated else ""
        again = f"; {spent.retries:,} sent again, {spent.failed:,} given up" if spent.retries or spent.failed else ""
        left = ", ".join(f"{code} {count}" for code, count in pool.unread.most_common())
        return (
            f"{spent.requests:,} requests, {spent.tokens:,} tokens{guess}{again}{f'; not read: {left}' if left else ''}"
        )


def load_model(choice: ModelChoice, max_new_tokens: int | None, settings: list[str]) -> LoadedModel:
    """The chosen model, ready to answer; by default with a quarter of its context per answer, at most 4,096 tokens."""
    if not choice.served:
        folder, _ = model_folder(choice.model, _config({}, settings).model.dtype)
        tokens = max_new_tokens or longest_answer(folder)
        config = _config({"model.path": choice.model, "sample.max_new_tokens": tokens}, settings)
        policy, base = build_policy(config)
        known_as = choice.model if model_name(choice.model) else str(model_path(choice.model))
        return LoadedModel(policy, known_as, base.id, config.sample.max_new_tokens)
    here = {"url": choice.model, "model": choice.endpoint_model, "key_env": choice.key_env}
    given = {"sample.endpoints": [here], "sample.max_new_tokens": max_new_tokens or MOST_TOKENS}
    config = _config(given, settings)
    sampler = endpoint_sampler(config, budget_of(config))
    if sampler is None:
        raise ConfigError(f"--model {choice.model} is an address, but sample.endpoints was set to nothing")
    if max_new_tokens is None and sampler.pool.context:
        sampler.max_new_tokens = min(sampler.max_new_tokens, sampler.pool.context // CONTEXT_SHARE)
    policy = served_policy(config, sampler, None, lambda: None)
    return LoadedModel(policy, choice.model, sampler.weights_id, sampler.max_new_tokens)


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


def _config(given: Mapping[str, Any], settings: list[str]) -> Config:
    return load_config(find_config("default"), {**given, **dict(map(parse_setting, settings))})
