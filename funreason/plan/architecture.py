"""The sizes of a model, read from its config.json alone: no weights, no torch, nothing downloaded.

Counts follow transformers' own classes for the families named in FAMILIES; another family is refused rather than
guessed. The sizes of models that the example configurations name, and of other usual ones, are kept in configs/models,
so that a plan can be made before anything is downloaded.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, NamedTuple

from funreason.errors import ModelError

PUBLISHED = Path(__file__).parents[1] / "configs" / "models"
Windows = Literal["none", "all", "late", "unplaced", "every"]
"""Which layers attend to a sliding window, where the config does not list them: `all` if it names a window; if it asks
for windows, those from `max_window_layers` on (`late`) or those without rotary positions (`unplaced`); all but `every`
nth."""


class Family(NamedTuple):
    """How the decoder layers of a family differ, and what its config means where it is silent.

    Biases of linear layers and norms: None is as the config says. Norms of kind `gemma` keep their normed input in
    float32. `fused`: queries, keys and values are one projection, gate and up another. `head_size` and `tied` are the
    defaults of the family's configuration class.
    """

    attention_bias: bool | None = None
    output_bias: bool | None = None
    mlp_bias: bool | None = False
    qk_norm: bool = False
    gemma_norm: bool = False
    norms: int = 2
    fused: bool = False
    head_size: int | None = None
    tied: bool = False
    windows: Windows = "none"


FAMILIES = {
    "llama": Family(mlp_bias=None),
    "mistral": Family(False, False, windows="all"),
    "qwen2": Family(True, False, windows="late"),
    "qwen3": Family(qk_norm=True, head_size=128, windows="late"),
    "smollm3": Family(mlp_bias=None, tied=True, windows="unplaced"),
    "phi3": Family(False, False, fused=True, windows="all"),
    "gemma": Family(gemma_norm=True, head_size=256, tied=True),
    "gemma2": Family(gemma_norm=True, norms=4, head_size=256, tied=True, windows="every"),
    "gemma3_text": Family(qk_norm=True, gemma_norm=True, norms=4, head_size=256, tied=True, windows="every"),
}
WINDOW_EVERY = {"gemma2": 2, "gemma3_text": 6}
"""Of so many layers the last has full attention."""
LEFT_OUT = {
    "gemma3": {
        "num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 262_208, "max_position_embeddings": 131_072,
        "model_type": "gemma3_text",
    },
}  # fmt: skip
"""What the text part of a config may leave out, by the model type around it."""
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "num_experts_per_tok")


class Architecture(NamedTuple):
    """A decoder: sizes in elements, `context` in tokens. `source` says where they were read.

    `sliding` layers attend to the last `window` tokens only. `plain_head`: the logits are what the head computes, and
    nothing changes them afterwards. `beside` counts parameters outside the decoder, such as those that read images.
    """

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
    gemma_norm: bool = False
    norms: int = 2
    fused: bool = False
    sliding: int = 0
    window: int = 0
    plain_head: bool = True
    beside: int = 0

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
        norms = self.norms * self.hidden + (2 * self.head_size if self.qk_norm else 0)
        return inputs + output + 2 * up + down + norms

    @property
    def parameters(self) -> int:
        """All of them; a tied head counts once."""
        decoder = self.embedding * (1 if self.tied else 2) + self.layers * self.layer + self.hidden
        return decoder + self.beside

    @property
    def multiplied(self) -> int:
        """Parameters that every token is multiplied with: all but the embedding, which is only looked up."""
        return self.parameters - self.beside - (0 if self.tied else self.embedding)

    def attended(self, length: float) -> float:
        """Tokens that a token attends to after `length` others, on the average of all layers."""
        return length + (min(length, self.window) - length) * self.sliding / self.layers

    def linears(self) -> dict[str, tuple[int, int]]:
        """Inputs and outputs of each linear module of one layer, by the names adapters know them."""
        h, q, k, ff = self.hidden, self.queries, self.keys, self.feed_forward
        if self.fused:
            return {"qkv_proj": (h, q + 2 * k), "o_proj": (q, h), "gate_up_proj": (h, 2 * ff), "down_proj": (ff, h)}
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
    around, beside = str(data.get("model_type")), 0
    if around in LEFT_OUT:
        vision, text, tied = (data.get(key) for key in ("vision_config", "text_config", "tie_word_embeddings"))
        data = LEFT_OUT[around] | _given(text) | {"tie_word_embeddings": tied}  # not the inner one
        beside = _vision_tower(file, _given(vision), _size(file, data, "hidden_size"))
    kind = str(data.get("model_type"))
    if experts := [key for key in EXPERTS if data.get(key) not in (None, 0, 1)]:
        raise ModelError(
            f"{file}: model_type is {kind!r} with {experts[0]} {data[experts[0]]}, a mixture of experts. Only dense "
            "models are counted: which experts a token meets decides what such a model keeps and computes."
        )
    family = FAMILIES.get(kind)
    if family is None:
        known = ", ".join([*FAMILIES, *LEFT_OUT])
        raise ModelError(f"{file}: model_type is {data.get('model_type')!r}; sizes can be computed for {known}.")
    hidden, heads = _size(file, data, "hidden_size"), _size(file, data, "num_attention_heads")
    layers = _size(file, data, "num_hidden_layers")
    bias, tied = bool(data.get("attention_bias") or False), data.get("tie_word_embeddings")
    sliding, window = _windows(file, data, kind, family.windows, layers)
    return Architecture(
        name=name,
        source=source,
        hidden=hidden,
        layers=layers,
        heads=heads,
        key_heads=_size(file, data, "num_key_value_heads", heads),
        head_size=_size(file, data, "head_dim", family.head_size or hidden // heads),
        feed_forward=_size(file, data, "intermediate_size"),
        vocabulary=_size(file, data, "vocab_size"),
        context=_size(file, data, "max_position_embeddings"),
        tied=family.tied if tied is None else bool(tied),
        attention_bias=bias if family.attention_bias is None else family.attention_bias,
        output_bias=bias if family.output_bias is None else family.output_bias,
        mlp_bias=bool(data.get("mlp_bias") or False) if family.mlp_bias is None else family.mlp_bias,
        qk_norm=family.qk_norm,
        gemma_norm=family.gemma_norm,
        norms=family.norms,
        fused=family.fused,
        sliding=sliding,
        window=window,
        plain_head=not data.get("final_logit_softcapping", 30.0 if kind == "gemma2" else None),
        beside=beside,
    )


def _windows(file: Path, data: dict[str, Any], kind: str, windows: Windows, layers: int) -> tuple[int, int]:
    """How many layers attend to a sliding window, and its tokens."""
    listed = data.get("layer_types")
    if isinstance(listed, list):
        if strange := set(map(str, listed)) - {"full_attention", "sliding_attention"}:
            raise ModelError(f"{file}: layer_types names {', '.join(sorted(strange))}; only attention is counted.")
        sliding = listed.count("sliding_attention")
    elif windows == "all":
        sliding = layers if data.get("sliding_window") else 0
    elif windows == "late" and data.get("use_sliding_window"):
        first = 0 if data.get("max_window_layers") == 0 else _size(file, data, "max_window_layers", 28)
        sliding = max(0, layers - first)
    elif windows == "unplaced" and data.get("use_sliding_window"):
        sliding = layers // _size(file, data, "no_rope_layer_interval", 4)
    elif windows == "every":
        sliding = layers - layers // _size(file, data, "sliding_window_pattern", WINDOW_EVERY[kind])
    else:
        sliding = 0
    return (sliding, _size(file, data, "sliding_window", 4096)) if sliding else (0, 0)


def _given(part: object) -> dict[str, Any]:
    """What a part of a config says, without its nulls."""
    return {key: value for key, value in part.items() if value is not None} if isinstance(part, dict) else {}


def _vision_tower(file: Path, given: dict[str, Any], hidden: int) -> int:
    """Parameters of a SigLIP tower and of what joins it to a decoder of width `hidden`."""
    sizes = {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "image_size": 224,
        "patch_size": 16,
    }
    width, wide, layers, image, patch = (_size(file, sizes | given, key) for key in sizes)
    layer = 4 * width * (width + 1) + 2 * width * wide + wide + width + 4 * width
    head = layer - width if given.get("vision_use_head", True) else 0  # one norm less than a layer, and a probe
    embeddings = 3 * patch * patch * width + width + (image // patch) ** 2 * width
    return embeddings + layers * layer + head + 2 * width + width * hidden + width


def _size(file: Path, data: dict[str, Any], key: str, default: int | None = None) -> int:
    found = data.get(key)
    value = default if found is None else found
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ModelError(f"{file}: {key} is {value!r}; expected a whole number above 0.")
    return value
