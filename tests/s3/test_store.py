"""The store against an S3 server: requests counted, other processes, refusals."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import re
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import boto3
import pytest
import s3fs
import torch

from tests.s3.faults import FaultProxy
from tests.unit.store.processes import KILLED, exit_status, ingest, race
from tests.unit.store.samples import assert_same, random_chunks, random_kv, spec, video, write_index
from videox2l.errors import AlreadyCommittedError, ArchiveError, ArchiveNotWritableError
from videox2l.store import Archive, IndexReader, shard
from videox2l.store.sweep import collect, find_garbage
from videox2l.store.verify import verify

Requests = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Requests:
    """Every S3 request from now on: its operation and arguments."""
    seen: Requests = []
    call = s3fs.S3FileSystem._call_s3

    async def record(self: s3fs.S3FileSystem, method: str, *args: Any, **kwargs: Any) -> Any:
        seen.append((method, {key: value for options in (*args, kwargs) for key, value in options.items()}))
        return await call(self, method, *args, **kwargs)

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", record)
    return seen


@pytest.fixture
def archive(s3_bucket: str) -> Archive:
    return Archive.open(f"{s3_bucket}/archive", create=True)


@pytest.fixture
def proxy(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """Logs every HTTP request from now on, with its bytes."""
    with FaultProxy(s3_server) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        s3fs.S3FileSystem.clear_instance_cache()
        yield proxy


def test_requests_and_bytes_of_reads(archive: Archive, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    chunks = random_chunks(6)
    monkeypatch.setattr(shard, "TARGET_BYTES", {"low": 2**20, "high": 3 * chunks[0]["high"].nbytes + 2500, "prompt": 0})
    manifest = write_index(archive, chunks)
    high_shards = {chunk.levels["high"].shard for chunk in manifest.chunks}
    assert 1 < len(high_shards) < len(chunks)
    archive = Archive.open(archive.url)
    video_id, size = manifest.video.video_id, len(manifest.to_json())

    def log() -> list[tuple[str, int]]:
        found = [(request.method, request.sent) for request in proxy.requests]
        proxy.requests.clear()
        return found

    log()
    archive.open_index(video_id, spec=spec())
    assert log() == [("GET", size)]
    reader = archive.open_index(video_id)
    [listing, read] = log()
    assert (listing[0], read) == ("GET", ("GET", size))
    reader.high()
    found = log()
    assert len(found) == len(high_shards)
    assert sum(sent for _, sent in found) == manifest.totals["high"].bytes
    assert_same(reader.low(3), chunks[3]["low"])
    assert log() == [("GET", manifest.chunks[3].levels["low"].length)]
    reader.low_many([0, 2, 5])
    assert sorted(log()) == sorted(("GET", manifest.chunks[chunk].levels["low"].length) for chunk in (0, 2, 5))
    reader.prompt()
    assert log() == [("GET", manifest.prompt.length)]


def test_a_message_is_hardly_longer_than_its_tensors(archive: Archive) -> None:
    chunks = random_chunks(1)
    assert write_index(archive, chunks).chunks[0].levels["low"].length - chunks[0]["low"].nbytes <= 512


def test_commit_is_one_conditional_put(archive: Archive, requests: Requests) -> None:
    manifest = write_index(archive)
    puts = [arguments for method, arguments in requests if method == "put_object"]
    assert {method for method, _ in requests if "multipart" in method} == set()
    commit = next(put for put in puts if put["Key"].endswith("manifest.json"))
    assert commit["IfNoneMatch"] == "*"
    after = puts[puts.index(commit) + 1 :]
    assert [put["Key"].rpartition("/")[0].rpartition("/")[2] for put in after] == ["catalog"]
    assert len(puts) == len(manifest.shards) + 5  # the model, a try of the condition, the manifest, its row twice


def test_large_shard_is_a_single_put(archive: Archive, requests: Requests) -> None:
    archive._storage.write("large", bytes(101 * 2**20))  # s3fs alone would begin a multipart upload at 100 MiB
    assert [method for method, _ in requests] == ["put_object"]


def test_no_readahead_by_default(archive: Archive) -> None:
    assert archive._storage.fs.default_cache_type == "none"
    assert not archive._storage.fs.dircache.use_listings_cache


def test_conflicting_commits_are_tried_again(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    fs = archive._storage.fs
    pipe_file, conflicts = fs.pipe_file, []

    def conflict_twice(path: str, data: bytes, **options: Any) -> None:
        if len(conflicts) < 2:
            conflicts.append(path)
            cause = RuntimeError()
            cause.response = {"Error": {"Code": "ConditionalRequestConflict"}}  # type: ignore[attr-defined]
            raise OSError("conflict") from cause
        pipe_file(path, data, **options)

    monkeypatch.setattr(fs, "pipe_file", conflict_twice)
    archive._storage.create("once", b"x")
    assert len(conflicts) == 2
    assert archive._storage.read("once") == b"x"
    with pytest.raises(FileExistsError):
        archive._storage.create("once", b"y")


def read_elsewhere(url: str) -> float:
    reader = Archive.open(url).open_index("holiday.mp4")
    return float(reader.low(1).keys_LHTD.double().sum())


@pytest.mark.parametrize("method", ["spawn", "fork"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_reader_in_another_process(archive: Archive, method: str) -> None:
    chunks = random_chunks(2)
    write_index(archive, chunks)
    assert read_elsewhere(archive.url) == float(chunks[1]["low"].keys_LHTD.double().sum())
    with multiprocessing.get_context(method).Pool(1) as pool:
        found = pool.apply_async(read_elsewhere, (archive.url,)).get(timeout=60)
    assert found == float(chunks[1]["low"].keys_LHTD.double().sum())


def read_inherited(results: Any) -> None:
    results.put(float(INHERITED[0].low(0).keys_LHTD.double().sum()))


INHERITED: list[IndexReader] = []


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_open_reader_survives_a_fork(archive: Archive) -> None:
    chunks = random_chunks(1)
    write_index(archive, chunks)
    INHERITED[:] = [archive.open_index("holiday.mp4")]
    INHERITED[0].low(0)
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    process = context.Process(target=read_inherited, args=(results,))
    process.start()
    assert results.get(timeout=60) == float(chunks[0]["low"].keys_LHTD.double().sum())
    process.join(60)
    INHERITED.clear()


def test_what_another_process_wrote_is_seen(archive: Archive) -> None:
    assert archive.videos() == []
    storage_options = {"skip_instance_cache": True}
    write_index(Archive.open(archive.url, storage_options=storage_options))
    assert [video.name for video in archive.videos()] == ["holiday.mp4"]


def test_no_such_bucket(s3_server: str) -> None:
    with pytest.raises(ArchiveNotWritableError, match=r"bucket does not exist|NoSuchBucket"):
        Archive.open("s3://there-is-none/archive", create=True)


@pytest.fixture
def server_that_checks_keys(s3_bucket: str, s3_server: str) -> Iterator[str]:
    def reset(free_requests: str) -> None:
        url, headers = f"{s3_server}/moto-api/reset-auth", {"Content-Type": "text/plain"}
        urllib.request.urlopen(urllib.request.Request(url, free_requests.encode(), headers)).read()

    reset("0")
    yield s3_bucket
    reset("inf")


def test_access_denied(archive: Archive, server_that_checks_keys: str) -> None:
    with pytest.raises(ArchiveError, match=re.escape(archive.url)):
        Archive.open(archive.url, create=True)
    with pytest.raises(ArchiveNotWritableError, match="may write there"):
        archive._storage.write("x", b"")


def test_empty_high_level(archive: Archive) -> None:
    write_index(archive, [{"low": random_kv(1), "high": random_kv(0)}])
    [kv] = archive.open_index("holiday.mp4").high()
    assert kv.keys_LHTD.shape[2] == 0
    assert kv.keys_LHTD.dtype == torch.float32


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_killed_at_every_write(s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard, "TARGET_BYTES", {"low": 0, "high": 2**20, "prompt": 0})
    for count in itertools.count():
        url = f"{s3_bucket}/{count}"
        Archive.open(url, create=True)
        status = exit_status(lambda url=url, count=count: ingest_and_die(url, count))  # type: ignore[misc]
        assert status in (0, KILLED)
        archive = Archive.open(url)
        assert len(archive.videos()) in ((0, 1) if status else (1,))
        assert not verify(archive.storage).damaged
        with contextlib.suppress(AlreadyCommittedError):
            ingest(archive)
        collect(archive.storage, find_garbage(archive.storage, older_than=timedelta(seconds=-2)))
        report = verify(archive.storage)
        assert report.ok
        assert report.unused == ()
        assert archive.open_index(video().video_id).prompt().tokens == 5
        if status == 0:
            assert count > 5
            return


def ingest_and_die(url: str, number: int) -> None:
    """Ingest, and die before the HTTP request number ``number`` that would change anything."""
    archive, writes, call = Archive.open(url), itertools.count(), s3fs.S3FileSystem._call_s3

    async def dying(self: s3fs.S3FileSystem, method: str, *args: Any, **kwargs: Any) -> Any:
        if method.startswith(("put_", "delete_")) and next(writes) >= number:
            os._exit(KILLED)
        return await call(self, method, *args, **kwargs)

    s3fs.S3FileSystem._call_s3 = dying
    ingest(archive)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("replace", [False, True])
def test_two_processes_at_once(archive: Archive, replace: bool) -> None:
    if replace:
        ingest(archive)
    winners = race(archive, replace, processes=2)
    assert replace or len(winners) == 1


def test_swap_has_one_winner(archive: Archive) -> None:
    archive.storage.write("file", b"old")
    version = archive.storage.version("file")
    assert version is not None
    archive.storage.swap("file", b"first", version)
    with pytest.raises(FileExistsError):
        archive.storage.swap("file", b"second", version)
    archive.storage.delete("file")
    with pytest.raises(FileExistsError):
        archive.storage.swap("file", b"third", version)
    assert archive.storage.version("file") is None


def test_source_with_an_etag(archive: Archive, s3_bucket: str, requests: Requests) -> None:
    bucket, source = s3_bucket.removeprefix("s3://"), f"{s3_bucket}/videos/holiday.mp4"

    def upload(content: bytes) -> None:
        boto3.client("s3").put_object(Bucket=bucket, Key="videos/holiday.mp4", Body=content)

    def reads() -> int:
        return sum(method == "get_object" and "videos/" in options["Key"] for method, options in requests)

    upload(b"one content")
    first = archive.identify(source)
    assert reads() == 1
    assert archive.identify(source) == first
    assert reads() == 1
    upload(b"two content")  # as long as the first
    second = archive.identify(source)
    assert second.video_id != first.video_id
    assert reads() == 2
