"""How likely a model finds held-out text: nats per token, the plainest measure of what training made it forget.

A document is cut into windows of the model's context, each beginning with the last token of the one before, so that
every token but a document's first is predicted once. Numbers of models with different tokenizers are compared by bits
per byte.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from funreason.config import ConfigError
from funreason.data.files import raw_records
from funreason.data.records import RecordRefused

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

LONGEST_WINDOW = 1024


class DocumentLoss(NamedTuple):
    """One document: the sum of its tokens' negative log-likelihoods in nats, how many were predicted, its bytes."""

    nats: float
    tokens: int
    bytes: int


class TextLoss(NamedTuple):
    """A text's likelihood under one model."""

    documents: list[DocumentLoss]

    @property
    def tokens(self) -> int:
        """How many tokens were predicted."""
        return sum(document.tokens for document in self.documents)

    @property
    def nats_per_token(self) -> float:
        """The mean negative log-likelihood."""
        return sum(document.nats for document in self.documents) / self.tokens

    @property
    def bits_per_byte(self) -> float:
        """The same per byte of UTF-8, in bits; independent of the tokenizer."""
        return sum(d.nats for d in self.documents) / math.log(2) / sum(d.bytes for d in self.documents)


def load_documents(path: Path) -> list[str]:
    """The documents of a file: `text` of each JSON record, or a `.txt` file as one. ConfigError for any other."""
    if path.suffix == ".txt":
        try:
            texts = [path.read_text(encoding="utf-8")]
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: expected a text in UTF-8: {error}") from error
    else:
        texts = []
        for raw in raw_records(path):
            try:
                record = raw.value()
            except RecordRefused as error:
                raise ConfigError(f"{path}, line {raw.line}: {error.message}") from error
            if not isinstance(record, dict) or not isinstance(record.get("text"), str):
                raise ConfigError(f'{path}, line {raw.line}: expected a record {{"text": "…"}}, or a .txt file')
            texts.append(record["text"])
    texts = [text for text in texts if text.strip()]
    if not texts:
        raise ConfigError(f"{path} holds no text")
    return texts


def text_loss(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], window: int = LONGEST_WINDOW
) -> Iterator[DocumentLoss]:
    """The likelihood of each text in turn; texts of fewer than two tokens predict nothing and count 0 tokens."""
    import torch

    window = min(window, int(getattr(model.config, "max_position_embeddings", window)))
    for text in texts:
        ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        nats, predicted = 0.0, 0
        for start in range(0, len(ids) - 1, window - 1):
            piece = torch.tensor([ids[start : start + window]], device=model.device)
            with torch.inference_mode():
                logits = model(input_ids=piece).logits[0, :-1].float()
            nats += float(torch.nn.functional.cross_entropy(logits, piece[0, 1:], reduction="sum"))
            predicted += piece.shape[1] - 1
        yield DocumentLoss(nats, predicted, len(text.encode()))
