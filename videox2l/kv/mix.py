"""Selective KV re-loading: the memory of one question, low KVs for the chosen chunks and high KVs for the rest.

``KV = cat(prompt, for c in time order: low[c] if c in S else high[c])`` (arXiv 2506.21184). Low *replaces* high. The
result is an ordinary KV cache at positions 0 … n-1; nothing of the two-level scheme is left in it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from videox2l.kv.chunk import KV
from videox2l.kv.rope import RopeTables, rotate_in_place


@dataclass(frozen=True)
class MixedKV:
    """A question's memory: rotated keys and values, ``[L, H, n, D]``, and where each chunk lies in it.

    ``chunk_slices[c]`` are the token positions of chunk ``c``; ``prompt_tokens`` come before the first. ``shift``: by
    how many positions keys that stand at positions of their own were moved (see :class:`Mixer`).
    """

    keys_LHTD: torch.Tensor
    values_LHTD: torch.Tensor
    prompt_tokens: int
    chunk_slices: tuple[slice, ...]
    shift: int = 0

    @property
    def tokens(self) -> int:
        return self.keys_LHTD.shape[2]

    @property
    def nbytes(self) -> int:
        return self.keys_LHTD.nbytes + self.values_LHTD.nbytes


def reload(high: Sequence[KV], low: Mapping[int, KV]) -> list[KV]:
    """One KV a chunk, in time order: its low KVs where given, else its high ones.

    Raises ``IndexError`` for low KVs of a chunk that the video does not have.
    """
    unknown = sorted(index for index in low if not 0 <= index < len(high))
    if unknown:
        raise IndexError(f"chunks {unknown} do not exist: the video has {len(high)}")
    return [low.get(index, kv) for index, kv in enumerate(high)]


class Mixer:
    """Puts a memory together part by part, in any order, since where a part lies follows from the sizes before it.

    ``tokens``: the size of each chunk, in time order. ``rope_tables(n, dtype)`` gives the tables of positions 0 … n-1.
    ``next_position``: that of the last chunk, where keys stand at positions of their own. They are then shifted all
    alike, so that text behind them begins at position n as it does for any other model; what attention sees are
    distances, which stay what they were.
    """

    def __init__(
        self,
        prompt: KV,
        tokens: Sequence[int],
        rope_tables: Callable[[int, torch.dtype], RopeTables],
        next_position: int | None = None,
    ) -> None:
        layers, heads, _, dim = prompt.keys_LHTD.shape
        ends = list(itertools.accumulate(tokens, initial=prompt.tokens))
        self._slices = tuple(itertools.starmap(slice, itertools.pairwise(ends)))
        self._keys_LHTD = prompt.keys_LHTD.new_empty(layers, heads, ends[-1], dim)
        self._values_LHTD = prompt.values_LHTD.new_empty(layers, heads, ends[-1], dim)
        self._shift = 0 if next_position is None else ends[-1] - next_position
        if next_position is None:
            self._cos_TD, self._sin_TD = rope_tables(ends[-1], prompt.keys_LHTD.dtype)
        else:
            self._cos_TD, self._sin_TD = _shifting(self._shift, ends[-1], prompt, rope_tables)
        self._prompt = prompt
        self._prompt_placed = False

    def place(self, parts: Mapping[int, KV]) -> None:
        """Copy in chunks by their places in the memory. They have as many tokens as were told.

        Those that follow one another are copied and rotated as one: a long video has hundreds of small ones, and each
        operation has its price.
        """
        for first, last in _runs(parts):
            span = slice(self._slices[first].start, self._slices[last].stop)
            kvs = [parts[number] for number in range(first, last + 1)]
            if first == 0:  # with the prompt before them: a memory in one piece is copied without gaps
                span, kvs, self._prompt_placed = slice(0, span.stop), [self._prompt, *kvs], True
            self._place(span, kvs)

    def unmoved(self, base: MixedKV) -> set[int]:
        """Places of chunks that lie in ``base`` where they are to lie here: none if all keys were moved otherwise."""
        if base.shift != self._shift:
            return set()
        return {
            place for place, (old, new) in enumerate(zip(base.chunk_slices, self._slices, strict=True)) if old == new
        }

    def keep(self, base: MixedKV, places: Collection[int]) -> None:
        """Take over chunks that are the same in ``base`` and :meth:`unmoved`: their keys are rotated already."""
        for first, last in _runs(places):
            start = 0 if first == 0 else self._slices[first].start
            span = slice(start, self._slices[last].stop)
            self._keys_LHTD[:, :, span] = base.keys_LHTD[:, :, span]
            self._values_LHTD[:, :, span] = base.values_LHTD[:, :, span]
            self._prompt_placed |= first == 0

    def finish(self) -> MixedKV:
        """The memory, once all chunks are in place."""
        if not self._prompt_placed:
            self._place(slice(0, self._prompt.tokens), [self._prompt])
        return MixedKV(self._keys_LHTD, self._values_LHTD, self._prompt.tokens, self._slices, self._shift)

    def _place(self, span: slice, parts: Sequence[KV]) -> None:
        keys_LHTD, values_LHTD = self._keys_LHTD[:, :, span], self._values_LHTD[:, :, span]
        torch.cat(_joined([part.keys_LHTD for part in parts]), dim=2, out=keys_LHTD)
        torch.cat(_joined([part.values_LHTD for part in parts]), dim=2, out=values_LHTD)
        rotate_in_place(keys_LHTD, (self._cos_TD[span], self._sin_TD[span]))


def _joined(parts_LHTD: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Those that lie beside one another in memory as one view: one copy takes half as long as a hundred small ones."""
    runs: list[list[torch.Tensor]] = []
    for part_LHTD in parts_LHTD:
        if runs and _adjacent(runs[-1][-1], part_LHTD):
            runs[-1].append(part_LHTD)
        else:
            runs.append([part_LHTD])
    return [run[0] if len(run) == 1 else _span(run) for run in runs]


def _adjacent(left_LHTD: torch.Tensor, right_LHTD: torch.Tensor) -> bool:
    """Whether ``right_LHTD`` begins where ``left_LHTD`` ends, in the same buffer."""
    return (
        right_LHTD.storage_offset() == left_LHTD.storage_offset() + left_LHTD.shape[2] * left_LHTD.stride(2)
        and left_LHTD.stride() == right_LHTD.stride()
        and left_LHTD.untyped_storage().data_ptr() == right_LHTD.untyped_storage().data_ptr()
    )


def _span(run_LHTD: Sequence[torch.Tensor]) -> torch.Tensor:
    first = run_LHTD[0]
    layers, heads, _, dim = first.shape
    return first.as_strided((layers, heads, sum(part.shape[2] for part in run_LHTD), dim), first.stride())


def _runs(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """First and last of those that follow one another."""
    for _, run in itertools.groupby(enumerate(sorted(numbers)), key=lambda pair: pair[1] - pair[0]):
        members = [number for _, number in run]
        yield members[0], members[-1]


def mix(prompt: KV, chunks: Sequence[KV], rope_tables: Callable[[int, torch.dtype], RopeTables]) -> MixedKV:
    """Assemble prompt and chunks in one preallocated buffer and rotate the keys once.

    ``chunks`` holds one KV a chunk in time order (see :func:`reload`); ``rope_tables`` as of :class:`Mixer`.
    """
    next_position = [prompt, *chunks][-1].next_position
    mixer = Mixer(prompt, [chunk.tokens for chunk in chunks], rope_tables, next_position)
    mixer.place(dict(enumerate(chunks)))
    return mixer.finish()


def _shifting(by: int, tokens: int, prompt: KV, rope_tables: Callable[[int, torch.dtype], RopeTables]) -> RopeTables:
    """Tables that move each of ``tokens`` by so many positions, back if negative. Views of one row."""
    cos_TD, sin_TD = rope_tables(abs(by) + 1, prompt.keys_LHTD.dtype)
    sin_D = sin_TD[-1] if by >= 0 else -sin_TD[-1]
    return cos_TD[-1].expand(tokens, -1), sin_D.expand(tokens, -1)
