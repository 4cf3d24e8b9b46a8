"""What is cleaned up and what is spared; levels that expire; how much is stored."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.unit.store.samples import append_all, assert_same, random_chunks, random_kv, spec, video, write_index
from videox2l.errors import AlreadyCommittedError, CorruptDataError
from videox2l.store import Archive, Manifest, catalog, usage
from videox2l.store.inventory import take_inventory
from videox2l.store.retention import expire, find_expired
from videox2l.store.sweep import Garbage, collect, find_garbage
from videox2l.store.verify import verify

NOW, HOUR = datetime.now(UTC), timedelta(hours=1)
LATER = NOW + 48 * HOUR


def lose_manifest(archive: Archive, manifest: Manifest) -> None:
    catalog.delete(archive.storage, manifest)
    archive.storage.delete(manifest.path)


def reasons(garbage: list[Garbage]) -> list[str]:
    return sorted(item.reason for item in garbage)


def test_never_committed(archive: Archive) -> None:
    manifest = write_index(archive)
    lose_manifest(archive, manifest)
    assert find_garbage(archive.storage) == []
    garbage = find_garbage(archive.storage, now=LATER)
    assert reasons(garbage) == ["models that no index was made with", "never committed"]
    [attempt] = (item for item in garbage if item.attempt)
    assert attempt.bytes == sum(shard.size for shard in manifest.shards)
    assert set(attempt.paths) == {manifest.shard_path(number) for number in range(3)}
    collect(archive.storage, garbage)
    assert [info.path for info in archive.storage.files()] == ["archive.json"]


def test_a_writer_that_goes_on_keeps_its_attempt(local_archive: Archive) -> None:
    manifest = write_index(local_archive)
    lose_manifest(local_archive, manifest)
    paths = [Path(local_archive.url, manifest.shard_path(number)) for number in range(3)]
    for path in paths[:-1]:
        os.utime(path, (1, 1))
    (model,) = (Path(local_archive.url) / "models").iterdir()
    os.utime(model)
    assert find_garbage(local_archive.storage) == []
    os.utime(paths[-1], (1, 1))
    assert reasons(find_garbage(local_archive.storage)) == ["never committed"]


def test_committed_since_it_was_found(archive: Archive) -> None:
    with archive.create_index(video(), spec()) as writer:
        append_all(writer, random_chunks())
        writer._uploads.drain()
        garbage = find_garbage(archive.storage, now=LATER)
        assert "never committed" in reasons(garbage)
        assert set(writer._shards._levels) == {"low", "high"}  # its last shards are not yet there
        writer._uploads.__init__(archive.storage)  # type: ignore[misc]
        writer.commit()
    collect(archive.storage, [item for item in garbage if item.attempt])
    assert verify(archive.storage).ok


def test_damaged_manifest_keeps_its_files(archive: Archive) -> None:
    manifest = write_index(archive)
    good = archive.storage.read(manifest.path)
    archive.storage.write(manifest.path, good[:-100])
    assert find_garbage(archive.storage, now=LATER) == []
    archive.storage.write(manifest.path, good)
    assert verify(archive.storage).ok


def test_replaced_index_keeps_its_files_for_its_readers(local_archive: Archive) -> None:
    manifest = write_index(local_archive)
    for number in range(3):
        os.utime(Path(local_archive.url, manifest.shard_path(number)), (1, 1))
    with local_archive.create_index(video(), spec(), replace=True) as writer:
        append_all(writer, random_chunks())
        writer.commit()
    assert find_garbage(local_archive.storage) == []
    garbage = find_garbage(local_archive.storage, now=LATER)
    assert reasons(garbage) == ["of an index that was replaced"]
    collect(local_archive.storage, garbage)
    assert verify(local_archive.storage).unused == ()
    assert local_archive.open_index("holiday.mp4").prompt().tokens == 5


def test_a_replaced_index_keeps_the_shards_of_all_its_attempts_for_its_readers(local_archive: Archive) -> None:
    first = write_index(local_archive)
    for number in range(3):
        os.utime(Path(local_archive.url, first.shard_path(number)), (1, 1))
    with local_archive.extend_index(first, video(), keep=2) as writer:
        writer.append(2, 20, 30, 10, random_chunks(1)[0])
        writer.commit()
    reader = local_archive.open_index("holiday.mp4")
    with local_archive.create_index(video(), spec(sampling={"fps": 2}), replace=True) as writer:
        append_all(writer, random_chunks())
        writer.commit()
    collect(local_archive.storage, find_garbage(local_archive.storage))
    assert reader.low(0).tokens == 12
    collect(local_archive.storage, find_garbage(local_archive.storage, now=LATER))
    assert verify(local_archive.storage).unused == ()


def test_what_took_the_place_of_an_obsolete_index_is_spared(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    write_index(archive)
    with (
        monkeypatch.context() as killed,
        archive.create_index(video(), spec(sampling={"fps": 2}), replace=True) as writer,
    ):
        append_all(writer, random_chunks())
        killed.setattr("videox2l.store.commit.hide", lambda *_: None)  # before it could hide what it replaces
        writer.commit()
    garbage = find_garbage(archive.storage)
    assert reasons(garbage) == ["of an index that was replaced"]
    with archive.create_index(video(), spec(), replace=True) as writer:
        append_all(writer, random_chunks())
        manifest = writer.commit()
    collect(archive.storage, garbage)
    assert list(archive.manifests()) == [manifest]


def test_temporary_files_and_stale_rows(local_archive: Archive) -> None:
    manifest = write_index(local_archive)
    row = local_archive.storage.read(f"catalog/{manifest.video.video_id}-{manifest.index_fp}.parquet")
    local_archive.storage.write(f"catalog/{'0' * 32}-{manifest.index_fp}.parquet", row)
    local_archive.storage.write("videos/.half.0.tmp", b"half")
    local_archive.storage.write("notes.txt", b"mine")
    assert find_garbage(local_archive.storage) == []
    assert "catalog rows of indexes that are gone" in reasons(find_garbage(local_archive.storage, now=LATER))
    collect(local_archive.storage, find_garbage(local_archive.storage, now=LATER))
    assert verify(local_archive.storage).unused == ("notes.txt",)


def test_nothing_that_is_used_goes(archive: Archive) -> None:
    chunks = random_chunks()
    write_index(archive, chunks)
    write_index(archive, sampling={"fps": 2})
    manifest = archive.open_index("holiday.mp4", spec=spec()).manifest
    with archive.extend_index(manifest, video(), keep=2) as writer:
        writer.append(2, 20, 30, 10, chunks[2])
        writer.commit()
    before = archive.storage.files()
    assert find_garbage(archive.storage, now=LATER) == []
    collect(archive.storage, [])
    assert archive.storage.files() == before


def test_extended_index(archive: Archive) -> None:
    chunks, more, prompt = random_chunks(3), random_chunks(2), random_kv(5)
    with archive.create_index(video(), spec(), recorded_at="2026-01-01T00:00:00+01:00") as writer:
        append_all(writer, chunks, prompt)
        manifest = writer.commit()
    with archive.extend_index(manifest, video(), keep=2) as writer:
        assert writer.chunks == 2
        for index, kvs in enumerate(more, start=2):
            writer.append(index, 10 * index, 10 * index + 10, 10, kvs)
        extended = writer.commit()
    reader = archive.open_index("holiday.mp4")
    assert reader.manifest == extended
    assert extended.recorded_at == manifest.recorded_at
    assert extended.attempts == {manifest.attempt, extended.attempt}
    assert_same(reader.prompt(), prompt)
    for index, kvs in enumerate([*chunks[:2], *more]):
        assert_same(reader.low(index), kvs["low"])
        assert_same(reader.high()[index], kvs["high"])
    assert verify(archive.storage).ok
    assert verify(archive.storage).unused == ()


def test_expired_low_level(archive: Archive) -> None:
    chunks = random_chunks()
    manifest = write_index(archive, chunks)
    age = datetime.fromisoformat(manifest.created)
    assert find_expired([manifest], low=HOUR, high=30 * HOUR, now=age + HOUR) == []
    [expiry] = find_expired([manifest], low=HOUR, high=30 * HOUR, now=age + 2 * HOUR)
    assert (expiry.level, expiry.bytes) == ("low", manifest.totals["low"].bytes)
    expire(archive, expiry)
    reader = archive.open_index("holiday.mp4")
    [date] = reader.manifest.dropped.values()
    for found, kvs in zip(reader.high(), chunks, strict=True):
        assert_same(found, kvs["high"])
    assert reader.prompt().tokens == 5
    read = reader.low_found([0, 3])
    assert read.found == {}
    assert all(date in read.missing[chunk] for chunk in (0, 3))
    with pytest.raises(CorruptDataError, match="to save space"):
        reader.low(1)
    report = verify(archive.storage)
    assert report.ok
    assert report.unused == ()
    assert archive.videos()[0].indexes[0].low_bytes == 0
    assert find_expired(archive.manifests(), low=HOUR, now=LATER) == []


def test_expired_high_level(archive: Archive) -> None:
    manifest = write_index(archive)
    kept = write_index(archive, name="other.mp4")
    [expiry] = find_expired([manifest], low=HOUR, high=2 * HOUR, now=LATER)
    assert (expiry.level, expiry.bytes) == ("high", sum(total.bytes for total in manifest.totals.values()))
    expire(archive, expiry)
    assert [entry.video_id for entry in archive.videos()] == [kept.video.video_id]
    assert list(archive.manifests()) == [kept]
    assert verify(archive.storage).unused == ()


def test_an_index_that_was_made_anew_does_not_expire_with_the_one_before(archive: Archive) -> None:
    [expiry] = find_expired([write_index(archive)], high=HOUR, now=LATER)
    with archive.create_index(video(), spec(), replace=True) as writer:
        append_all(writer, random_chunks())
        manifest = writer.commit()
    with pytest.raises(AlreadyCommittedError, match="replaced or removed meanwhile"):
        expire(archive, expiry)
    assert list(archive.manifests()) == [manifest]
    assert verify(archive.storage).ok


def test_usage(archive: Archive) -> None:
    manifests = [
        write_index(archive),
        write_index(archive, sampling={"fps": 2}),
        write_index(archive, random_chunks(9), "other.mp4", model_fingerprint="0" * 32),
    ]
    totals = [manifest.totals for manifest in manifests]
    rows = [row for entry in archive.videos() for row in entry.indexes]
    other, holiday = usage.by_video(rows)
    assert (other.name, other.indexes, other.duration_s) == ("other.mp4", 1, 90.0)
    assert (holiday.indexes, holiday.low) == (2, totals[0]["low"].bytes + totals[1]["low"].bytes)
    assert [found.id for found in usage.by_model(rows)] == ["0" * 32, spec().model_fingerprint]
    assert sum(found.total for found in usage.by_model(rows)) == sum(
        t.bytes for total in totals for t in total.values()
    )
    archive.storage.write("notes.txt", b"mine")
    stored = usage.stored_bytes(take_inventory(archive.storage))
    assert sum(stored.values()) == sum(info.size for info in archive.storage.files())
    assert stored["shards"] == sum(shard.size for manifest in manifests for shard in manifest.shards)
