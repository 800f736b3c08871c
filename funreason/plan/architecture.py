"""The sizes of a model, read from its config.json alone: no weights, no torch, nothing downloaded.

Counts follow transformers' own classes for the families named in FAMILIES; another family is refused rather than
guessed. The sizes of the models that the example configurations name are kept in configs/models, so that a plan can be
made before anything is downloaded.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from funreason.errors import ModelError

PUBLISHED = Path(__file__).parents[1] / "configs" / "models"


class Family(NamedTuple):
    """How a family differs:

    Which linear layers have biases (None: as the config says), and a norm over queries and keys.
    """

    attention_bias: bool | None
    output_bias: bool | None
    mlp_bias: bool | None
    qk_norm: bool = False


FAMILIES = {
    "llama": Family(None, None, None),
    "mistral": Family(False, False, False),
    "qwen2": Family(True, False, False),
    "qwen3": Family(None, None, False, qk_norm=True),
}


class Architecture(NamedTuple):
    """A decoder: sizes in elements, `context` in tokens. `source` says where they were read."""

    name: str
    source: str
    hidden: int
    layers: int
    heads: int
    key_heads: int
    head_size: int
    feed_forward: int
    vocabulary: int
    context: int
    tied: bool
    attention_bias: bool
    output_bias: bool
    mlp_bias: bool
    qk_norm: bool

    @property
    def queries(self) -> int:
        """Width of all query heads together."""
        return self.heads * self.head_size

    @property
    def keys(self) -> int:
        """Width of all key heads together; as many again are values."""
        return self.key_heads * self.head_size

    @property
    def embedding(self) -> int:
        """Parameters of the embedding, and of the head again where it is not tied."""
        return self.vocabulary * self.hidden

    @property
    def layer(self) -> int:
        """Parameters of one layer."""
        inputs = sum((self.hidden + self.attention_bias) * width for width in (self.queries, self.keys, self.keys))
        output = (self.queries + self.output_bias) * self.hidden
        up, down = (self.hidden + self.mlp_bias) * self.feed_forward, (self.feed_forward + self.mlp_bias) * self.hidden
        norms = 2 * self.hidden + (2 * self.head_size if self.qk_norm else 0)
        return inputs + output + 2 * up + down + norms

    @property
    def parameters(self) -> int:
        """All of them; a tied head counts once."""
        return self.embedding * (1 if self.tied else 2) + self.layers * self.layer + self.hidden

    @property
    def multiplied(self) -> int:
        """Parameters that every token is multiplied with: all but the embedding, which is only looked up."""
        return self.parameters if self.tied else self.parameters - self.embedding

    def linears(self) -> dict[str, tuple[int, int]]:
        """Inputs and outputs of each linear module of one layer, by the names adapters know them."""
        h, q, k, ff = self.hidden, self.queries, self.keys, self.feed_forward
        attention = {"q_proj": (h, q), "k_proj": (h, k), "v_proj": (h, k), "o_proj": (q, h)}
        return attention | {"gate_proj": (h, ff), "up_proj": (h, ff), "down_proj": (ff, h)}


def read_architecture(path: str | Path) -> Architecture:
    """The architecture of a model folder or of a config.json.

    A folder that does not exist is looked up by its last name among the published sizes. ModelError when there is
    neither, when a size is missing, or when the family is unknown.
    """
    given = Path(path)
    file = given / "config.json" if given.is_dir() else given
    source = str(file)
    if not given.exists():
        file, source = PUBLISHED / f"{given.name}.json", "published sizes; the model is not here"
    if not file.is_file():
        names = ", ".join(sorted(file.stem for file in PUBLISHED.glob("*.json")))
        raise ModelError(
            f"{path}: expected a model folder or a config.json. Without the model, sizes are known of {names}."
        )
    try:
        data = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} is not readable JSON: {error}") from error
    if not isinstance(data, dict):
        raise ModelError(f"{file} must hold a mapping, found {type(data).__name__}")
    return architecture_of(data, given.parent.name if given.name == "config.json" else given.name, file, source)


def architecture_of(data: dict[str, Any], name: str, file: Path, source: str = "") -> Architecture:
    """The architecture that the content of a config.json describes; `file` is what errors name. Raises ModelError."""
    family = FAMILIES.get(str(data.get("model_type")))
    if family is None:
        known = ", ".join(FAMILIES)
        raise ModelError(f"{file}: model_type is {data.get('model_type')!r}; sizes can be computed for {known}.")
    hidden, heads = _size(file, data, "hidden_size"), _size(file, data, "num_attention_heads")
    bias = bool(data.get("attention_bias", False))
    return Architecture(
        name=name,
        source=source,
        hidden=hidden,
        layers=_size(file, data, "num_hidden_layers"),
        heads=heads,
        key_heads=_size(file, data, "num_key_value_heads", heads),
        head_size=_size(file, data, "head_dim", hidden // heads),
        feed_forward=_size(file, data, "intermediate_size"),
        vocabulary=_size(file, data, "vocab_size"),
        context=_size(file, data, "max_position_embeddings"),
        tied=bool(data.get("tie_word_embeddings", False)),
        attention_bias=bias if family.attention_bias is None else family.attention_bias,
        output_bias=bias if family.output_bias is None else family.output_bias,
        mlp_bias=bool(data.get("mlp_bias", False)) if family.mlp_bias is None else family.mlp_bias,
        qk_norm=family.qk_norm,
    )


def _size(file: Path, data: dict[str, Any], key: str, default: int | None = None) -> int:
    found = data.get(key)
    value = default if found is None else found
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ModelError(f"{file}: {key} is {value!r}; expected a whole number above 0.")
    return value
