"""Mixing a question's memory, beside one copy of its bytes and the rotation of its keys."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from pipelines.bench.bounds.sizes import PROMPT_TOKENS, Subject
from pipelines.bench.rows.report import Row, row_of
from pipelines.bench.rows.timing import in_turn
from videox2l.kv import KV, MixedKV, lay_side_by_side, mix, reload
from videox2l.kv.rope import RopeTables, rotate_in_place

TARGET = 1.5

# Low KVs of all chunks of a long video need not fit: beyond this, chunks share theirs.
_DISTINCT_BYTES = 2**31


def measure(subject: Subject, repeats: int) -> Iterator[Row]:
    """Of each length, with no chunk in detail, with as many as a question re-loads, and with half of them."""
    prompt = subject.random_kv(PROMPT_TOKENS)
    for chunks in subject.size.lengths:
        high = [subject.random_kv(subject.high_tokens()) for _ in range(chunks)]
        lay_side_by_side(high)  # as a resident video's are
        for detailed in sorted({0, min(subject.size.detailed, chunks), chunks // 2}):
            low = _low(subject, chunks, detailed)
            yield _measure(subject, prompt, high, low, repeats)


def _measure(subject: Subject, prompt: KV, high: list[KV], low: dict[int, KV], repeats: int) -> Row:
    rope_tables = partial(subject.model.rope_tables, 0)
    memory = mix(prompt, reload(high, low), rope_tables)
    tables = rope_tables(memory.tokens, subject.dtype)

    def own() -> MixedKV:
        return mix(prompt, reload(high, low), rope_tables)

    times = in_turn([lambda: own, lambda: partial(copy_and_rotate, memory, tables)], subject.device, repeats)
    return row_of(
        times,
        part="mix",
        case=f"{len(high)} chunks, {len(low)} in detail",
        chunks=len(high),
        bound="one copy of these bytes, and rotation",
        target=TARGET,
        more={"MB": memory.nbytes / 1e6},
    )


def copy_and_rotate(memory: MixedKV, tables: RopeTables) -> tuple[object, object]:
    """The least that mixing ``memory`` takes: into new buffers, as it is, of keys that lie side by side."""
    keys_LHTD, values_LHTD = memory.keys_LHTD.clone(), memory.values_LHTD.clone()
    rotate_in_place(keys_LHTD, tables)
    return keys_LHTD, values_LHTD


def _low(subject: Subject, chunks: int, detailed: int) -> dict[int, KV]:
    """Low KVs of ``detailed`` chunks, evenly spread over the video."""
    size = subject.low_tokens() * subject.model.geometry.bytes_per_token
    distinct = max(1, min(detailed, _DISTINCT_BYTES // size))
    kvs = [subject.random_kv(subject.low_tokens()) for _ in range(distinct)]
    return {chunks * number // max(1, detailed): kvs[number % distinct] for number in range(detailed)}
