"""A process that dies at any write leaves the archive as it was before or as it should be after, and `gc` cleans up."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
import torch

from tests.unit.store.processes import KILLED, exit_status
from tests.unit.store.samples import append_all, random_chunks, random_kv, spec, video, write_index
from videox2l.errors import AlreadyCommittedError, VideoError, VideoNotFoundError
from videox2l.kv.chunk import KV
from videox2l.store import Archive, catalog, layout, shard, uploads
from videox2l.store.documents import checksum, seal
from videox2l.store.retention import expire, find_expired
from videox2l.store.sweep import collect, find_garbage, remove_index
from videox2l.store.transfer import export_index, import_index
from videox2l.store.verify import verify

FIRST, SECOND = random_chunks(2), random_chunks(2)
PROMPT = random_kv(5)
OTHER = {"sampling": {"fps": 2.0, "frames": None}}

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


@pytest.fixture(autouse=True)
def fast_and_several_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    # Slow, and without meaning here: what a killed process wrote is there, whether or not it reached the disk.
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(shard, "TARGET_BYTES", {"low": 0, "high": 2**20, "prompt": 0})


def create(archive: Archive) -> None:
    with archive.create_index(video(), spec()) as writer:
        append_all(writer, FIRST, PROMPT)
        writer.commit()


def replace(archive: Archive) -> None:
    with archive.create_index(video(), spec(), replace=True) as writer:
        append_all(writer, SECOND, PROMPT)
        writer.commit()


def replace_by_other_settings(archive: Archive) -> None:
    with archive.create_index(video(), spec(**OTHER), replace=True) as writer:
        append_all(writer, SECOND, PROMPT)
        writer.commit()


def extend(archive: Archive) -> None:
    manifest = archive.open_index(video().video_id).manifest
    with archive.extend_index(manifest, video(), keep=1) as writer:
        for kvs in SECOND:
            writer.append(writer.chunks, 10.0 * writer.chunks, 10.0 * writer.chunks + 10, 10, kvs)
        writer.commit()


def journalled(archive: Archive) -> None:
    """Goes on from what an earlier try has stored."""
    with archive.create_index(video(), spec()) as writer:
        writer.keep_journal(every_s=0)
        if not any(writer.resume(left) for left in archive.unfinished(video(), spec())):
            writer.put_prompt(PROMPT)
        for index in range(writer.chunks, len(FIRST)):
            writer.append(index, 10.0 * index, 10.0 * index + 10, 10, FIRST[index])
        writer.commit()


def suspended(archive: Archive) -> None:
    """Its writer was stopped behind the first chunk."""
    writer = archive.create_index(video(), spec())
    writer.keep_journal(every_s=3600)
    append_all(writer, FIRST[:1], PROMPT)
    writer.suspend()


def give_up(archive: Archive) -> None:
    """The video turns out to be bad."""
    with contextlib.suppress(VideoError), archive.create_index(video(), spec()) as writer:
        writer.keep_journal(every_s=0)
        append_all(writer, FIRST, PROMPT)
        raise VideoError("cut short")


def remove(archive: Archive) -> None:
    manifest = archive.open_index(video().video_id).manifest
    remove_index(archive.storage, (manifest.video.video_id, manifest.index_fp))


def expire_low(archive: Archive) -> None:
    for expiry in find_expired(archive.manifests(), low=timedelta(-1)):
        expire(archive, expiry)


def expire_high(archive: Archive) -> None:
    for expiry in find_expired(archive.manifests(), high=timedelta(-1)):
        expire(archive, expiry)


def sweep(archive: Archive) -> None:
    collect(archive.storage, find_garbage(archive.storage, older_than=timedelta(0)))


def import_exported(archive: Archive) -> None:
    import_index(archive, exported_file(Path(archive.url)))


def nothing(archive: Archive) -> None:
    pass


def litter(archive: Archive) -> None:
    """An index with everything around it that `gc` removes."""
    create(archive)
    other = video("other.mp4")
    archive.create_index(other, spec()).put_prompt(PROMPT)  # a writer that ends without a word
    gone = write_index(archive, FIRST, "gone.mp4")
    catalog.delete(archive.storage, gone)
    archive.storage.delete(gone.path)
    replace(archive)
    archive.storage.write("catalog/.row.tmp", b"half")
    archive.storage.write(layout.quarantine(video().video_id, spec().index_fp), seal({"reason": "hangs"}))


def export(archive: Archive) -> None:
    elsewhere = Archive.open(Path(archive.url).parent / "elsewhere", create=True)
    create(elsewhere)
    export_index(elsewhere, elsewhere.open_index(video().video_id).manifest, exported_file(Path(archive.url)))


def exported_file(archive: Path) -> Path:
    return archive.parent / "exported.zip"


Operation = Callable[[Archive], None]
State = dict[str, tuple[str, ...]]
"""What readers see: checksums of the KVs of each video's only index."""


@dataclass(frozen=True)
class Case:
    prepare: Operation
    operation: Operation


CASES = [
    Case(nothing, create),
    Case(create, replace),
    Case(create, replace_by_other_settings),
    Case(create, extend),
    Case(nothing, journalled),
    Case(suspended, journalled),
    Case(create, remove),
    Case(create, expire_low),
    Case(create, expire_high),
    Case(litter, sweep),
    Case(export, import_exported),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.operation.__name__)
def test_killed_at_every_write(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # With two, writes would come in another order each time, and number n would not be the same write.
    monkeypatch.setattr(uploads, "_THREADS", 1)
    prepared = tmp_path / "prepared"
    case.prepare(Archive.open(prepared, create=True))
    before = visible(Archive.open(prepared))
    finished = Archive.open(shutil.copytree(prepared, tmp_path / "finished"))
    case.operation(finished)
    after = visible(finished)
    states = []
    for url, killed in killed_at_each_write(prepared, case.operation, tmp_path):
        archive = Archive.open(url)
        states.append(visible(archive))
        assert states[-1] in (before, after)
        assert not verify(archive.storage).damaged
        if killed:
            with contextlib.suppress(AlreadyCommittedError, VideoNotFoundError):
                case.operation(archive)
        assert visible(archive) == after
        sweep(archive)
        assert visible(archive) == after
        report = verify(archive.storage)
        assert report.ok
        assert report.unused == ()
        assert report.indexes == len(after)
    # It happens at one moment, and stays.
    assert states == sorted(states, key=lambda state: state != before)
    assert states[0] == before
    assert states[-1] == after


def test_giving_up_a_video_killed_at_every_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "_THREADS", 1)
    (tmp_path / "prepared").mkdir()
    Archive.open(tmp_path / "prepared", create=True)
    for url, _ in killed_at_each_write(tmp_path / "prepared", give_up, tmp_path):
        archive = Archive.open(url)
        assert not verify(archive.storage).damaged
        if archive.unfinished(video(), spec()):
            shutil.copytree(url, tmp_path / "gone on with")
            journalled(other := Archive.open(tmp_path / "gone on with"))
            assert verify(other.storage).ok
            assert visible(other)
            shutil.rmtree(tmp_path / "gone on with")
        sweep(archive)
        report = verify(archive.storage)
        assert report.ok
        assert report.unused == ()


def test_making_an_archive_killed_at_every_write(tmp_path: Path) -> None:
    (tmp_path / "prepared").mkdir()
    for url, _ in killed_at_each_write(tmp_path / "prepared", None, tmp_path):
        archive = Archive.open(url, create=True)
        create(archive)
        sweep(archive)
        assert verify(archive.storage).unused == ()


def killed_at_each_write(prepared: Path, operation: Operation | None, tmp_path: Path) -> Iterator[tuple[Path, bool]]:
    """A copy of ``prepared`` for each write of ``operation``, whose process died before it; the last one lived."""
    for count in itertools.count():
        url = shutil.copytree(prepared, tmp_path / "killed")
        status = exit_status(lambda url=url, count=count: operate(url, operation, count))  # type: ignore[misc]
        assert status in (0, KILLED)
        yield url, status == KILLED
        shutil.rmtree(url)
        if status == 0:
            assert count > 0
            return


def operate(url: Path, operation: Operation | None, dies_at: int) -> None:
    die_at_write(dies_at)
    archive = Archive.open(url, create=True)
    if operation is not None:
        operation(archive)


def die_at_write(number: int) -> None:
    """End this process in its write ``number``, before anything of it happens."""
    writes = itertools.count()

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if is_write(event, arguments) and next(writes) >= number:
            os._exit(KILLED)

    sys.addaudithook(hook)


def is_write(event: str, arguments: tuple[object, ...]) -> bool:
    if event == "open":
        flags = arguments[2]
        return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    return event in ("os.link", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")


def visible(archive: Archive) -> State:
    return {entry.video_id: contents(archive, entry.video_id) for entry in archive.videos()}


def contents(archive: Archive, video_id: str) -> tuple[str, ...]:
    reader = archive.open_index(video_id)
    low = reader.low_found(range(len(reader.manifest.chunks))).found
    return tuple(digest(kv) for kv in (reader.prompt(), *reader.high(), *low.values()))


def digest(kv: KV) -> str:
    return checksum(torch.stack([kv.keys_LHTD, kv.values_LHTD]).numpy().tobytes())
