"""Shards are closed when they are full, and the next ones begun."""

from __future__ import annotations

import pytest

from tests.unit.store.samples import assert_same, every_storage, random_chunks, write_index
from videox2l.store import Archive, shard


@every_storage
def test_several_shards(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    chunks = random_chunks(9)
    room_for = {"low": 2, "high": 4}
    targets = {level: room_for[level] * chunks[0][level].nbytes + 2000 for level in ("low", "high")}
    monkeypatch.setattr(shard, "TARGET_BYTES", {**targets, "prompt": 0})
    manifest = write_index(archive, chunks)
    assert sorted(entry.name for entry in manifest.shards) == [
        *(f"high-0000{number}.arrow" for number in range(3)),
        *(f"low-0000{number}.arrow" for number in range(5)),
        "prompt.arrow",
    ]
    reader = archive.open_index("holiday.mp4")
    for stored, kvs in zip(reader.high(), chunks, strict=True):
        assert_same(stored, kvs["high"])
    for index, kv in reader.low_many(range(9)).items():
        assert_same(kv, chunks[index]["low"])
