"""Memories of questions that follow one another: what has not moved is not mixed again. Exact to the bit."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

import pytest
import torch

from tests.archives import random_index
from tests.unit.answering.by_hand import assert_equal, flip_byte, mixed
from videox2l import Archive, ResidentVideo, SelectionConfig
from videox2l.answering.costs import Costs
from videox2l.answering.dialogue import tokenize
from videox2l.answering.memory import Means, Memory, MixedCache, build_memory
from videox2l.kv.rope import RopeTables, rotate_in_place
from videox2l.models.video_xl.model import VideoXL
from videox2l.store import IndexReader

CHUNKS = 8


class Asking:
    """Builds memories with a cache for mixed ones, and counts the tokens that are rotated and the low KVs read."""

    def __init__(self, model: VideoXL, reader: IndexReader, monkeypatch: pytest.MonkeyPatch) -> None:
        self.model, self.reader = model, reader
        self.video = ResidentVideo(model, reader)
        self.means = Means(mixes=MixedCache(lambda memory: memory.nbytes, 2**26))
        self.rotated = 0
        # The package has a function of the module's name.
        monkeypatch.setattr(importlib.import_module("videox2l.kv.mix"), "rotate_in_place", self._rotate)

    def _rotate(self, states_LHTD: torch.Tensor, tables: RopeTables) -> None:
        self.rotated += states_LHTD.shape[2]
        rotate_in_place(states_LHTD, tables)

    def memory(self, select: str, chunks: Sequence[int] = range(CHUNKS)) -> tuple[Memory, int, int]:
        """The memory, tokens that were rotated for it, and bytes of low KVs that were read."""
        self.rotated, costs = 0, Costs()
        dialogue = tokenize(self.model, "What happens?")
        memory = build_memory(self.model, self.video, dialogue, SelectionConfig(select), chunks, costs, self.means)
        return memory, self.rotated, costs.storage["low"]

    def check(self, memory: Memory, low: set[int]) -> None:
        """It is what mixing from scratch makes of these low chunks."""
        levels = {chunk: "low" if chunk in low else "high" for chunk in memory.chunks}
        assert_equal(memory.mixed, mixed(self.model, self.reader, levels))  # type: ignore[arg-type]
        assert set(memory.detailed) == low

    def tokens(self, memory: Memory, chunks: Sequence[int]) -> int:
        """Of these chunks in it."""
        return sum(memory.mixed.chunk_slices[chunk].stop - memory.mixed.chunk_slices[chunk].start for chunk in chunks)

    def low_bytes(self, *chunks: int) -> int:
        return self.video.level_bytes("low", chunks)


@pytest.fixture
def asking(archive: Archive, random_model: VideoXL, monkeypatch: pytest.MonkeyPatch) -> Asking:
    return Asking(random_model, random_index(archive, random_model, chunks=CHUNKS), monkeypatch)


def test_the_same_chunks_again_touch_nothing(asking: Asking) -> None:
    first, rotated, read = asking.memory("1,5")
    assert (rotated, read) == (first.mixed.tokens, asking.low_bytes(1, 5))
    again, rotated, read = asking.memory("1,5")
    assert (rotated, read) == (0, 0)
    assert again.mixed is first.mixed
    asking.check(again, {1, 5})


def test_another_chunk_touches_what_lies_between_the_two(asking: Asking) -> None:
    asking.memory("1,4")
    memory, rotated, read = asking.memory("1,6")
    assert rotated == asking.tokens(memory, [4, 5, 6])
    assert read == asking.low_bytes(6)
    asking.check(memory, {1, 6})


def test_one_more_chunk_touches_it_and_what_comes_behind(asking: Asking) -> None:
    asking.memory("2")
    memory, rotated, read = asking.memory("2,5")
    assert rotated == asking.tokens(memory, [5, 6, 7])
    assert read == asking.low_bytes(5)
    asking.check(memory, {2, 5})


def test_of_several_earlier_memories_the_nearest_serves(asking: Asking) -> None:
    for select in ("1,5", "2,3", "6"):
        asking.memory(select)
    memory, rotated, read = asking.memory("2,4")
    assert rotated == asking.tokens(memory, [3, 4])
    assert read == asking.low_bytes(4)
    asking.check(memory, {2, 4})


def test_the_gist_is_an_earlier_memory_too(asking: Asking) -> None:
    asking.memory("none")
    memory, rotated, _ = asking.memory("6")
    assert rotated == asking.tokens(memory, [6, 7])
    asking.check(memory, {6})


def test_memories_of_other_chunks_do_not_serve(asking: Asking) -> None:
    asking.memory("3,5", range(2, CHUNKS))
    memory, rotated, _ = asking.memory("3,6")
    assert rotated == memory.mixed.tokens
    asking.check(memory, {3, 6})


@pytest.mark.parametrize(("select", "low"), [("1,4", {1}), ("4", set())])
def test_low_kvs_that_are_missing_beside_an_earlier_memory(
    asking: Asking, archive: Archive, select: str, low: set[int]
) -> None:
    """What was taken over lies elsewhere then."""
    manifest = asking.reader.manifest
    asking.memory("1,6")
    flip_byte(archive, manifest, manifest.chunks[4].levels["low"])
    memory, _, _ = asking.memory(select)
    assert list(memory.missing) == [4]
    asking.check(memory, low)
