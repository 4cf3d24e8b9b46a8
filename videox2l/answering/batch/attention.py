"""Attention of one step's packed tokens: each over the segments of its question, then over that question's own tail.

A segment (a mixed memory, earlier turns) never changes and may belong to many questions: it is read once for all of
their tokens, without a copy, and without padding to another segment's length. Tails grow at every step and are short,
so those of all questions that decode are one padded product. The parts are joined by their log-sum-exp, as in
FlashDecoding (https://pytorch.org/blog/flash-decoding): exact but for rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from videox2l.answering.batch.tails import Tails
from videox2l.kv.partial_attention import Part, attend


class Segment(Protocol):
    """Rotated keys, and values, of consecutive tokens: ``[L, H, n, D]``. :class:`~videox2l.kv.MixedKV` is one."""

    @property
    def keys_LHTD(self) -> torch.Tensor: ...  # noqa: N802 - a tensor's name, with its shape

    @property
    def values_LHTD(self) -> torch.Tensor: ...  # noqa: N802


@dataclass(frozen=True)
class Run:
    """Tokens ``span`` of a step: the next ones of the question in ``slot``, which sees ``segments`` whole."""

    slot: int
    span: slice
    segments: Sequence[Segment]


@dataclass(frozen=True)
class _Group:
    segment: Segment
    tokens: slice | torch.Tensor


class StepAttention:
    """How the tokens of one step attend; fits :class:`~videox2l.models.packed.Attend`.

    ``runs`` are in the order of their tokens. The first ``decoding`` of them have one token each and the slots 0, 1, 2,
    …; the others any number.
    """

    def __init__(self, tails: Tails, runs: Sequence[Run], decoding: int) -> None:
        self._tails, self._decoding, self._asking = tails, decoding, runs[decoding:]
        device = tails.device
        counts = [run.span.stop - run.span.start for run in runs]
        befores = [tails.lengths[run.slot] for run in runs]
        slots = [run.slot for run, count in zip(runs, counts, strict=True) for _ in range(count)]
        places = [before + n for before, count in zip(befores, counts, strict=True) for n in range(count)]
        self._slots_T = torch.tensor(slots, device=device)
        self._places_T = torch.tensor(places, device=device)
        self._levels = _levels(runs, device)
        self._longest = max(befores[:decoding], default=0) + 1
        self._mask = _ends(befores[:decoding], device)
        self._causal = [_causal(before, count, device) for before, count in zip(befores, counts, strict=True)][
            decoding:
        ]

    def __call__(
        self, layer: int, queries_QTD: torch.Tensor, keys_HTD: torch.Tensor, values_HTD: torch.Tensor, scaling: float
    ) -> torch.Tensor:
        tail_keys_SHCD, tail_values_SHCD = self._tails.layer(layer)
        tail_keys_SHCD[self._slots_T, :, self._places_T] = keys_HTD.transpose(0, 1)
        tail_values_SHCD[self._slots_T, :, self._places_T] = values_HTD.transpose(0, 1)
        # Queries by KV head: the G query heads that share it are just more queries over the same keys.
        queries_THGD = queries_QTD.unflatten(0, (len(keys_HTD), -1)).permute(2, 0, 1, 3)
        total = self._over_tails(queries_THGD, tail_keys_SHCD, tail_values_SHCD, scaling)
        for groups, tokens in self._levels:
            parts = [
                _attend_all(
                    queries_THGD[group.tokens],
                    group.segment.keys_LHTD[layer : layer + 1],
                    group.segment.values_LHTD[layer : layer + 1],
                    scaling,
                )
                for group in groups
            ]
            total = _join_at(total, _stack(parts), tokens)
        return total.out_ND.flatten(1, 2).to(queries_QTD.dtype)

    def _over_tails(
        self, queries_THGD: torch.Tensor, keys_SHCD: torch.Tensor, values_SHCD: torch.Tensor, scaling: float
    ) -> Part:
        parts: list[Part] = []
        if count := self._decoding:
            keys, values = (buffer[:count, :, : self._longest] for buffer in (keys_SHCD, values_SHCD))
            parts.append(attend(queries_THGD[:count], keys, values, scaling, self._mask))
        for run, mask_TM in zip(self._asking, self._causal, strict=True):
            slot = slice(run.slot, run.slot + 1)
            keys, values = (buffer[slot, :, : mask_TM.shape[-1]] for buffer in (keys_SHCD, values_SHCD))
            parts.append(_attend_all(queries_THGD[run.span], keys, values, scaling, mask_TM))
        return _stack(parts)


def _attend_all(
    queries_NHGD: torch.Tensor,
    keys_1HMD: torch.Tensor,
    values_1HMD: torch.Tensor,
    scaling: float,
    mask_NM: torch.Tensor | None = None,
) -> Part:
    """All queries over the same keys, read once for all of them."""
    count, _, share, _ = queries_NHGD.shape
    if count == 1:  # sees all keys, itself included: nothing to arrange, and this is what most calls are
        return attend(queries_NHGD, keys_1HMD, values_1HMD, scaling)
    rows_HXD = queries_NHGD.transpose(0, 1).flatten(1, 2)
    mask_XM = None if mask_NM is None else mask_NM.repeat_interleave(share, 0)[None, None]
    part = attend(rows_HXD[None], keys_1HMD, values_1HMD, scaling, mask_XM)
    out_NHGD = part.out_ND[0].unflatten(1, (count, share)).transpose(0, 1)
    return Part(out_NHGD, part.lse_N[0].unflatten(1, (count, share)).transpose(0, 1))


def _stack(parts: Sequence[Part]) -> Part:
    if len(parts) == 1:
        return parts[0]
    return Part(torch.cat([part.out_ND for part in parts]), torch.cat([part.lse_N for part in parts]))


def _join_at(total: Part, part: Part, tokens: torch.Tensor | None) -> Part:
    """``part`` belongs to ``tokens`` of ``total``, or to all of them in order."""
    if tokens is None:
        return total.join(part)
    joined = Part(total.out_ND[tokens], total.lse_N[tokens]).join(part)
    return Part(total.out_ND.index_copy(0, tokens, joined.out_ND), total.lse_N.index_copy(0, tokens, joined.lse_N))


def _levels(runs: Sequence[Run], device: torch.device) -> list[tuple[list[_Group], torch.Tensor | None]]:
    """First segments of all questions, then second ones, …: grouped by segment, and whose tokens these are.

    A question meets a segment once, so each level's groups have no token in common.
    """
    levels: list[tuple[list[_Group], torch.Tensor | None]] = []
    total = runs[-1].span.stop if runs else 0
    for depth in range(max((len(run.segments) for run in runs), default=0)):
        spans: dict[int, tuple[Segment, list[slice]]] = {}
        for run in runs:
            if depth < len(run.segments):
                segment = run.segments[depth]
                spans.setdefault(id(segment), (segment, []))[1].append(run.span)
        members = [(segment, _numbers(parts)) for segment, parts in spans.values()]
        order = [token for _, tokens in members for token in tokens]
        groups = [_Group(segment, _index(tokens, device)) for segment, tokens in members]
        in_order = order == list(range(total))
        levels.append((groups, None if in_order else torch.tensor(order, device=device)))
    return levels


def _numbers(spans: Sequence[slice]) -> list[int]:
    return [token for span in spans for token in range(span.start, span.stop)]


def _index(tokens: list[int], device: torch.device) -> slice | torch.Tensor:
    """Consecutive tokens are a view."""
    if tokens[-1] - tokens[0] == len(tokens) - 1:
        return slice(tokens[0], tokens[-1] + 1)
    return torch.tensor(tokens, device=device)


def _ends(befores: Sequence[int], device: torch.device) -> torch.Tensor | None:
    """``[R, 1, 1, longest]``, added to scores: hides what lies behind the end of the shorter tails."""
    if len(set(befores)) <= 1:
        return None
    ends_R = torch.tensor(befores, device=device)
    hidden_RM = torch.arange(max(befores) + 1, device=device) > ends_R[:, None]
    return torch.zeros(hidden_RM.shape, device=device).masked_fill_(hidden_RM, -torch.inf)[:, None, None]


def _causal(before: int, count: int, device: torch.device) -> torch.Tensor:
    """``[count, before + count]``, added to scores: tokens behind ``before`` others see those and one another."""
    return torch.full((count, before + count), -torch.inf, device=device).triu(before + 1)
