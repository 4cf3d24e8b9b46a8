"""What a writer that ends too early leaves for the next one, and what becomes of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.unit.store.samples import (
    append_all,
    assert_same,
    every_storage,
    random_chunks,
    random_kv,
    spec,
    video,
    write_index,
)
from videox2l.errors import AlreadyCommittedError, ArchiveNotWritableError, VideoError, VideoNotFoundError
from videox2l.kv.chunk import ChunkKV
from videox2l.store import Archive, IndexReader, IndexWriter, Manifest, layout
from videox2l.store.storage import Storage
from videox2l.store.sweep import collect, find_garbage
from videox2l.store.verify import verify

PROMPT, CHUNKS = random_kv(5), random_chunks(6)
LATER = datetime.now(UTC) + timedelta(hours=48)


class LostError(Exception):
    """Ends a writer as a lost machine would, as far as that can be done in one process."""


def begin(archive: Archive, **options: object) -> IndexWriter:
    writer = archive.create_index(video(), spec(), **options)  # type: ignore[arg-type]
    writer.keep_journal(every_s=0)
    return writer


def append(writer: IndexWriter, chunks: Sequence[ChunkKV]) -> None:
    for kvs in chunks:
        index = writer.chunks
        writer.append(index, 10.0 * index, 10.0 * index + 10, 10, kvs)


def end_early(archive: Archive, count: int = 3, **options: object) -> Manifest:
    """Store ``count`` chunks, lose the writer, and return what it left."""
    with pytest.raises(LostError), begin(archive, **options) as writer:
        append_all(writer, CHUNKS[:count], PROMPT)
        writer._uploads.drain()
        raise LostError
    return next(m for m in archive.unfinished(video(), spec()) if m.attempt == writer.attempt)


def go_on(archive: Archive, left: Manifest, upto: int = len(CHUNKS), **options: object) -> IndexWriter:
    writer = begin(archive, **options)
    assert writer.resume(left)
    append(writer, CHUNKS[writer.chunks : upto])
    return writer


def check_whole(archive: Archive, manifest: Manifest) -> None:
    reader = archive.open_index("holiday.mp4")
    assert reader.manifest == manifest
    assert_same(reader.prompt(), PROMPT)
    for index, (high, kvs) in enumerate(zip(reader.high(), CHUNKS, strict=True)):
        assert_same(reader.low(index), kvs["low"])
        assert_same(high, kvs["high"])
    report = verify(archive.storage)
    assert report.ok
    assert not [path for path in report.unused if path.endswith(".json")]


def clean(archive: Archive) -> None:
    """Nothing is left of other writers."""
    collect(archive.storage, find_garbage(archive.storage, now=LATER))
    report = verify(archive.storage)
    assert report.ok
    assert report.unused == ()


@every_storage
def test_another_writer_goes_on(archive: Archive) -> None:
    left = end_early(archive)
    assert len(left.chunks) == 3
    state = IndexReader(archive.storage, left)
    assert_same(state.prompt(), PROMPT)
    for index in range(3):
        assert_same(state.low(index), CHUNKS[index]["low"])
    with go_on(archive, left) as writer:
        manifest = writer.commit()
    assert manifest.attempts == {left.attempt, writer.attempt}
    check_whole(archive, manifest)
    clean(archive)


def test_readers_see_nothing_of_it(archive: Archive) -> None:
    end_early(archive)
    assert archive.videos() == []
    assert list(archive.manifests()) == []
    assert not archive.has(video().video_id, spec())
    with pytest.raises(VideoNotFoundError):
        archive.open_index(video().video_id)


def test_lost_again_and_again(archive: Archive) -> None:
    left = end_early(archive, 1)
    for count in (2, 3, 5):
        with pytest.raises(LostError), go_on(archive, left, count) as writer:
            writer._uploads.drain()
            raise LostError
        left = archive.unfinished(video(), spec())[0]
        assert (left.attempt, len(left.chunks)) == (writer.attempt, count)
    with go_on(archive, left) as writer:
        manifest = writer.commit()
    assert len(manifest.attempts) == 5
    check_whole(archive, manifest)
    assert archive.unfinished(video(), spec()) == []
    clean(archive)


@pytest.mark.parametrize("first", [0, 1])
def test_two_heirs_end_with_one_index(archive: Archive, first: int) -> None:
    left = end_early(archive)
    heirs = [go_on(archive, left), go_on(archive, left)]
    winner, loser = heirs[first], heirs[1 - first]
    manifest = winner.commit()
    with pytest.raises(AlreadyCommittedError), loser:
        loser.commit()
    check_whole(archive, manifest)
    clean(archive)


@every_storage
@pytest.mark.parametrize("heir_first", [True, False], ids=["heir first", "living writer first"])
def test_a_writer_that_was_only_thought_dead(archive: Archive, heir_first: bool) -> None:
    living = begin(archive)
    append_all(living, CHUNKS[:3], PROMPT)
    living._uploads.drain()
    living._uploads.__init__(archive.storage)  # type: ignore[misc]
    heir = go_on(archive, archive.unfinished(video(), spec())[0])
    append(living, CHUNKS[3:])
    winner, loser = (heir, living) if heir_first else (living, heir)
    manifest = winner.commit()
    with pytest.raises(AlreadyCommittedError), loser:
        loser.commit()
    check_whole(archive, manifest)
    clean(archive)


@pytest.mark.parametrize("when", ["before the commit", "after the commit"])
def test_an_aborted_writer_leaves_its_heirs_what_they_use(archive: Archive, when: str) -> None:
    living = begin(archive)
    append_all(living, CHUNKS[:3], PROMPT)
    living._uploads.drain()
    heir = go_on(archive, archive.unfinished(video(), spec())[0])
    if when == "before the commit":
        living.abort()
        manifest = heir.commit()
    else:
        manifest = heir.commit()
        living.abort()
    check_whole(archive, manifest)


def test_what_was_withdrawn_has_no_heirs(archive: Archive) -> None:
    living = begin(archive)
    append_all(living, CHUNKS[:3], PROMPT)
    living._uploads.drain()
    [left] = archive.unfinished(video(), spec())
    living.abort()
    assert archive.unfinished(video(), spec()) == []
    late = begin(archive)
    assert not late.resume(left)
    assert late.chunks == 0
    append_all(late, CHUNKS, PROMPT)
    check_whole(archive, late.commit())
    clean(archive)


def test_a_bad_video_leaves_nothing(archive: Archive) -> None:
    with pytest.raises(VideoError), begin(archive) as writer:
        append_all(writer, CHUNKS[:3], PROMPT)
        raise VideoError("cut short")
    assert Storage(archive.url).files("videos") == []


def test_suspended(archive: Archive) -> None:
    writer = archive.create_index(video(), spec())
    writer.keep_journal(every_s=3600)
    append_all(writer, CHUNKS[:4], PROMPT)
    writer.suspend()
    [left] = archive.unfinished(video(), spec())
    assert len(left.chunks) == 4
    with go_on(archive, left, 4) as idle:  # stopped before its first chunk
        idle.suspend()
    assert [m.attempt for m in archive.unfinished(video(), spec())] == [left.attempt]
    with go_on(archive, left) as writer:
        check_whole(archive, writer.commit())
    clean(archive)


def test_without_a_journal_nothing_stays(archive: Archive) -> None:
    writer = archive.create_index(video(), spec())
    append_all(writer, CHUNKS[:4], PROMPT)
    writer.suspend()
    assert Storage(archive.url).files("videos") == []


def test_all_chunks_were_stored(archive: Archive) -> None:
    left = end_early(archive, len(CHUNKS))
    with go_on(archive, left) as writer:
        assert writer.chunks == len(CHUNKS)
        manifest = writer.commit()
    assert manifest.attempts == {left.attempt}
    check_whole(archive, manifest)
    clean(archive)


def test_an_extension_goes_on(archive: Archive) -> None:
    base = write_index(archive, CHUNKS[:2])
    with pytest.raises(LostError), archive.extend_index(base, video(), keep=1) as writer:
        writer.keep_journal(every_s=0)
        append(writer, CHUNKS[1:4])
        writer._uploads.drain()
        raise LostError
    [left] = archive.unfinished(video(), spec())
    other = write_index(archive, random_chunks(2), name="other.mp4")
    with archive.extend_index(other, video("other.mp4"), keep=1) as stranger:
        assert not stranger.resume(left)
    with archive.extend_index(base, video(), keep=1) as writer:
        assert writer.resume(left)
        assert writer.chunks == 4
        append(writer, CHUNKS[4:])
        manifest = writer.commit()
    assert manifest.attempts == {base.attempt, left.attempt, writer.attempt}
    reader = archive.open_index(video().video_id)
    for index in range(1, len(CHUNKS)):
        assert_same(reader.low(index), CHUNKS[index]["low"])
    clean(archive)


def test_replacing_goes_on_but_not_from_what_it_replaces(archive: Archive) -> None:
    with begin(archive) as writer:
        append_all(writer, random_chunks(6))
        journal = layout.journal(video().video_id, spec().index_fp, writer.attempt)
        writer._uploads.drain()
        data = archive.storage.read(journal)
        writer._uploads.__init__(archive.storage)  # type: ignore[misc]
        writer.commit()
    archive.storage.write(journal, data)  # its process was killed before it could delete it
    assert archive.unfinished(video(), spec()) == []
    archive.storage.delete(journal)
    left = end_early(archive, replace=True)
    with go_on(archive, left, replace=True) as writer:
        check_whole(archive, writer.commit())
    clean(archive)


def test_other_content_or_settings_are_no_heirs(archive: Archive) -> None:
    end_early(archive)
    assert archive.unfinished(video(), spec(sampling={"fps": 2})) == []
    assert archive.unfinished(video("other.mp4"), spec()) == []


@pytest.mark.parametrize("damage", ["journal", "shard cut short", "shard gone"])
def test_what_is_damaged_is_not_gone_on_from(archive: Archive, damage: str) -> None:
    left = end_early(archive)
    journal = layout.journal(video().video_id, spec().index_fp, left.attempt)
    storage = archive.storage
    if damage == "journal":
        storage.write(journal, storage.read(journal).replace(b"holiday", b"holidaz"))
        assert [found.path for found in verify(storage).damaged] == [journal]
    elif damage == "shard cut short":
        storage.write(left.shard_path(1), storage.read(left.shard_path(1))[:-1])
    else:
        storage.delete(left.shard_path(1))
    assert archive.unfinished(video(), spec()) == []


def test_shards_that_go_missing_are_noticed_before_the_commit(archive: Archive) -> None:
    left = end_early(archive)
    with (
        pytest.raises(ArchiveNotWritableError, match="not stored as it was written"),
        go_on(archive, left) as writer,
    ):
        archive.storage.delete(left.shard_path(1))
        writer.commit()
    assert not archive.has(video().video_id, spec())


def test_garbage_after_the_grace(local_archive: Archive) -> None:
    left = end_early(local_archive)
    root = Path(local_archive.url)

    def age(attempt: str, moment: float) -> None:
        for path in (root / layout.attempt(video().video_id, spec().index_fp, attempt)).iterdir():
            os.utime(path, (moment, moment))

    with pytest.raises(LostError), go_on(local_archive, left, 4) as heir:
        heir._uploads.drain()
        raise LostError
    # The heir's journal refers to shards that were written long ago.
    age(left.attempt, 1)
    (model,) = (root / "models").iterdir()
    os.utime(model, (1, 1))
    assert find_garbage(local_archive.storage) == []
    age(heir.attempt, 1)
    assert sorted(item.reason for item in find_garbage(local_archive.storage)) == [
        "models that no index was made with",
        "never committed",
        "never committed",
    ]
    clean(local_archive)


def test_garbage_that_was_gone_on_from_since_it_was_found(archive: Archive) -> None:
    left = end_early(archive)
    garbage = find_garbage(archive.storage, now=LATER)
    assert "never committed" in [item.reason for item in garbage]
    writer = go_on(archive, left)
    collect(archive.storage, [item for item in garbage if item.attempt is not None])
    check_whole(archive, writer.commit())
    clean(archive)


def test_nobody_goes_on_from_what_is_being_collected(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    left = end_early(archive)
    garbage, delete, came = find_garbage(archive.storage, now=LATER), Storage.delete, []

    def meanwhile(storage: Storage, path: str) -> None:
        if path.endswith(".arrow"):
            came.append(begin(archive).resume(left))
        delete(storage, path)

    monkeypatch.setattr(Storage, "delete", meanwhile)
    collect(archive.storage, garbage)
    assert came
    assert not any(came)
    monkeypatch.undo()
    clean(archive)


def test_journals_are_stored_behind_their_shards(local_archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    write = Storage.write

    def note(self: Storage, path: str, data: bytes) -> None:
        write(self, path, data)
        written.append(path.rpartition("/")[2])
        if path.endswith(layout.JOURNAL):
            manifest = Manifest.from_json(data, path)
            assert all(self.exists(manifest.shard_path(n)) for n in range(len(manifest.shards)))

    monkeypatch.setattr(Storage, "write", note)
    with begin(local_archive) as writer:
        append_all(writer, CHUNKS, PROMPT)
        check_whole(local_archive, writer.commit())
    assert written.count(layout.JOURNAL) == len(CHUNKS)


def test_resuming_too_late(archive: Archive) -> None:
    left = end_early(archive)
    with begin(archive) as writer:
        writer.put_prompt(PROMPT)
        with pytest.raises(ValueError, match="before it stores"):
            writer.resume(left)
