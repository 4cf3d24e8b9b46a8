"""Which ranks of a model computed what: recorded shard by shard, whoever goes on with an index, and checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.store.samples import KV_HEADS, SPEC, append_all, assert_same, random_chunks, random_kv, video
from videox2l.errors import ArchiveFormatError, ConfigError
from videox2l.kv.heads import head_ranges
from videox2l.store import Archive, IndexReader, IndexWriter, Manifest
from videox2l.store.documents import seal

ONE, TWO = (head_ranges(KV_HEADS, ranks) for ranks in (1, 2))


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive.open(tmp_path / "archive", create=True)


def by_shard(manifest: Manifest) -> dict[str, Any]:
    return {shard.name: shard.head_ranges for shard in manifest.shards}


def of_two(writer: IndexWriter) -> IndexWriter:
    writer.shared_out(2)
    return writer


def test_one_device_has_all_heads(archive: Archive) -> None:
    with archive.create_index(video(), SPEC) as writer:
        append_all(writer, random_chunks(2))
        manifest = writer.commit()
    assert manifest.head_ranges == [ONE]
    assert json.loads(manifest.to_json())["shards"][0]["head_ranges"] == [[0, KV_HEADS]]


def test_who_goes_on_records_its_own(archive: Archive) -> None:
    chunks = random_chunks(3)
    begun = of_two(archive.create_index(video(), SPEC))
    begun.keep_journal(0)
    append_all(begun, chunks[:2])
    begun.suspend()
    [unfinished] = archive.unfinished(video(), SPEC)
    assert unfinished.head_ranges == [TWO]

    with archive.create_index(video(), SPEC) as heir:
        assert heir.resume(unfinished)
        heir.append(2, 20.0, 30.0, 10, chunks[2])
        manifest = heir.commit()
    assert manifest.head_ranges == [ONE, TWO]
    assert [shard.head_ranges for shard in manifest.shards if shard.attempt == manifest.attempt] == [ONE] * 2
    reader = IndexReader(archive.storage, manifest)
    for stored, written in zip(reader.high(), chunks, strict=True):
        assert_same(stored, written["high"])


def test_an_extension_keeps_that_of_its_beginning(archive: Archive) -> None:
    with archive.create_index(video(), SPEC) as writer:
        append_all(writer, random_chunks(2))
        first = writer.commit()
    with of_two(archive.extend_index(first, video(), 2)) as writer:
        writer.append(2, 20.0, 30.0, 10, random_chunks(1)[0])
        longer = writer.commit()
    assert longer.head_ranges == [ONE, TWO]
    assert archive.open_index(video().video_id).manifest == longer
    # Made again as a whole, it is whoever does that.
    with archive.rebuild_index(video(), SPEC) as writer:
        append_all(writer, random_chunks(3))
        assert writer.commit().head_ranges == [ONE]


def test_ranks_that_cannot_be(archive: Archive) -> None:
    with archive.create_index(video(), SPEC) as writer:
        with pytest.raises(ConfigError, match="cannot be shared out evenly over 3 ranks"):
            writer.shared_out(3)
        writer.put_prompt(random_kv(5))
        writer.append(0, 0.0, 10.0, 10, random_chunks(1)[0])
        with pytest.raises(ValueError, match="before anything is stored"):
            writer.shared_out(2)


BAD = {
    "a gap": ([[0, 1]], "KV heads [[0, 1]], which are not all 2 of the model"),
    "twice the same": ([[0, 2], [1, 2]], "not all 2 of the model"),
    "too many": ([[0, 3]], "not all 2 of the model"),
    "another order": ([[1, 2], [0, 1]], "not all 2 of the model"),
    "none": ([], "KV heads [], which are not all 2 of the model"),
    "an empty one": ([[0, 0], [0, 2]], "no KV heads from 0 to 0"),
    "no range": ([[0, 1], [2]], "a range of KV heads is [2], not two numbers"),
    "no numbers": ([[False, 2]], "a range of KV heads is [False, 2], not two numbers"),
    "no list": (2, "field 'head_ranges' should be list, but is int"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_no_ranks_can_have_made_is_refused(archive: Archive, case: str) -> None:
    ranges, words = BAD[case]
    with archive.create_index(video(), SPEC) as writer:
        append_all(writer, random_chunks(1))
        document = json.loads(writer.commit().to_json())
    document["shards"][1]["head_ranges"] = ranges
    for name in ("checksum", "format_version"):
        del document[name]
    with pytest.raises(ArchiveFormatError) as error:
        Manifest.from_json(seal(document), "manifest")
    assert words in str(error.value)
