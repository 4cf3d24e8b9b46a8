"""The questions of a batch and one step of all of them: tokens of those that still ask, one of each that answers."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from videox2l.answering.batch.attention import Run, Segment, StepAttention
from videox2l.answering.batch.tails import Tails, TailSegment
from videox2l.answering.sampling import Pick, Sampler, pick_each
from videox2l.models import KVCompressibleModel
from videox2l.models.packed import enable_packed, packed_logits

# A tail that is full becomes a segment. Shorter: joined more often; longer: more padding beside short tails.
TAIL_TOKENS = 256


class Row:
    """A question: tokens ``ids`` behind ``segments``, whose keys were rotated to positions 0 … ``start`` - 1."""

    def __init__(self, ids: Sequence[int], segments: Sequence[Segment], start: int, sampler: Sampler) -> None:
        self.shared = list(segments)
        self.own: TailSegment | None = None
        """What was moved out of its tail."""
        self.pending = list(ids)
        """Tokens whose KVs are still to be computed."""
        self.position = start
        """Of the first of them."""
        self.sampler = sampler
        self.answering = False
        """Whether all of the question has run: every step gives a token now."""

    @property
    def segments(self) -> list[Segment]:
        return self.shared if self.own is None else [*self.shared, self.own]


class Batch:
    """Up to ``slots`` questions on one model. For one thread.

    ``step_tokens``: how many tokens of questions run in one step. Few keep the pace of the answers beside them, many
    use matrix products better.
    """

    def __init__(self, model: KVCompressibleModel, slots: int, step_tokens: int) -> None:
        enable_packed(model.decoder)
        self._decoder = model.decoder
        self._slots = slots
        self._step_tokens = step_tokens
        self._device: torch.device = model.decoder.device
        self._tails = Tails(model.geometry, slots, TAIL_TOKENS, self._device)
        # A row's index is its slot. Rows that answer come first, so that their tails are one view.
        self._rows: list[Row] = []

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def full(self) -> bool:
        return len(self._rows) == self._slots

    def add(self, row: Row) -> None:
        """:raises IndexError: the batch is full."""
        if self.full:
            raise IndexError("the batch is full")
        self._tails.lengths[len(self._rows)] = 0
        self._rows.append(row)

    def remove(self, row: Row) -> TailSegment | None:
        """Free the row's slot; KVs of all its tokens that have run."""
        slot = self._rows.index(row)
        if self._tails.lengths[slot]:
            self._seal(slot)
        if row.answering:  # its place goes to the last row that answers
            slot = self._swap(slot, self._answering - 1)
        self._swap(slot, len(self._rows) - 1)
        self._rows.pop()
        return row.own

    def clear(self) -> None:
        """Free all slots."""
        self._rows.clear()

    def step(self) -> list[tuple[Row, Pick]]:
        """Run the next tokens; the new token of each row that answers. It runs at the next step."""
        runs, taken = self._plan()
        if not runs:
            return []
        rows = self._rows[: self._answering] + [self._rows[run.slot] for run in runs[self._answering :]]
        ids = [token for row, count in zip(rows, taken, strict=True) for token in row.pending[:count]]
        positions = [row.position + n for row, count in zip(rows, taken, strict=True) for n in range(count)]
        complete = [place for place, row in enumerate(rows) if taken[place] == len(row.pending)]
        wanted = torch.tensor([runs[place].span.stop - 1 for place in complete], dtype=torch.long, device=self._device)
        with torch.inference_mode():
            logits_BV = packed_logits(
                self._decoder,
                torch.tensor(ids, device=self._device),
                torch.tensor(positions, device=self._device),
                wanted,
                StepAttention(self._tails, runs, self._answering),
            )
            picks = pick_each([rows[place].sampler for place in complete], logits_BV)
        for run, row, count in zip(runs, rows, taken, strict=True):
            self._tails.lengths[run.slot] += count
            row.position += count
            del row.pending[:count]
        found = [(rows[place], pick) for place, pick in zip(complete, picks, strict=True)]
        for row, pick in found:
            row.pending.append(pick.token)
            if not row.answering:
                self._swap(self._rows.index(row), self._answering)
                row.answering = True
        return found

    @property
    def _answering(self) -> int:
        return sum(row.answering for row in self._rows)

    def _plan(self) -> tuple[list[Run], list[int]]:
        """What runs in the next step, and how many tokens each. The first to come asks first."""
        runs: list[Run] = []
        taken: list[int] = []
        budget, start = self._step_tokens, 0
        for slot, row in enumerate(self._rows):
            count = 1 if row.answering else min(len(row.pending), budget, TAIL_TOKENS)
            if not count:
                break
            if self._tails.lengths[slot] + count > TAIL_TOKENS:
                self._seal(slot)
            runs.append(Run(slot, slice(start, start + count), row.segments))
            taken.append(count)
            start += count
            budget -= 0 if row.answering else count
        return runs, taken

    def _seal(self, slot: int) -> None:
        row, tail = self._rows[slot], self._tails.take(slot)
        row.own = tail if row.own is None else row.own.then(tail)

    def _swap(self, a: int, b: int) -> int:
        """Exchange two rows; returns ``b``."""
        self._tails.swap(a, b)
        self._rows[a], self._rows[b] = self._rows[b], self._rows[a]
        return b
