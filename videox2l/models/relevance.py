"""Which attention heads of a model say where in a video a question's answer lies; measured when it was trained."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from videox2l.errors import CheckpointError

TokenChoice = Literal["last", "mean", "max"]
Reduction = Literal["mean", "sum", "max"]


@dataclass(frozen=True)
class RelevanceHeads:
    """How chunk scores are made of attention weights.

    ``heads``: (layer, query head) pairs whose scores are averaged. ``question_tokens``: the question's last token, or
    the mean or maximum over all its tokens. ``reduction``: what is made of a chunk's memory tokens; ``mean`` does not
    favour chunks that have more of them.
    """

    heads: tuple[tuple[int, int], ...]
    question_tokens: TokenChoice = "mean"
    reduction: Reduction = "mean"

    @property
    def layers(self) -> frozenset[int]:
        """Those with such heads."""
        return frozenset(layer for layer, _ in self.heads)

    def of_layer(self, layer: int) -> list[int]:
        """Its heads, in order."""
        return sorted(head for at, head in self.heads if at == layer)


def read_relevance_heads(folder: Path, layers: int, query_heads: int) -> RelevanceHeads | None:
    """``relevance.json`` of a checkpoint folder, where it has one.

    Raises :class:`CheckpointError` where the file does not fit a decoder of ``layers`` and ``query_heads``.
    """
    path = folder / "relevance.json"
    if not path.is_file():
        return None
    try:
        document = json.loads(path.read_text())
        found = RelevanceHeads(
            tuple((int(layer), int(head)) for layer, head in document["heads"]),
            document["question_tokens"],
            document["reduction"],
        )
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{path} does not say which heads to use: {error!r}") from error
    fits = all(0 <= layer < layers and 0 <= head < query_heads for layer, head in found.heads)
    known = found.question_tokens in get_args(TokenChoice) and found.reduction in get_args(Reduction)
    if not (found.heads and fits and known):
        raise CheckpointError(f"{path} does not fit a model of {layers} layers with {query_heads} heads: {found}")
    return found
