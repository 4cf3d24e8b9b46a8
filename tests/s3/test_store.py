"""The store against an S3 server: requests counted, other processes, refusals."""

from __future__ import annotations

import multiprocessing
import re
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
import s3fs
import torch

from tests.unit.store.samples import assert_same, random_chunks, random_kv, spec, video, write_index
from videox2l.errors import ArchiveError, ArchiveNotWritableError
from videox2l.store import Archive, IndexReader, shard

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


def test_one_ranged_request_a_low_chunk(archive: Archive, requests: Requests) -> None:
    chunks = random_chunks(6)
    manifest = write_index(archive, chunks)
    reader = archive.open_index("holiday.mp4")
    requests.clear()
    assert_same(reader.low(3), chunks[3]["low"])
    stored = manifest.chunks[3].levels["low"]
    [(method, arguments)] = requests
    assert method == "get_object"
    assert arguments["Range"] == f"bytes={stored.offset}-{stored.offset + stored.length - 1}"
    # The message's own overhead is all that is read beyond the tensors.
    assert stored.length - chunks[3]["low"].nbytes <= 256
    requests.clear()
    reader.low_many([0, 2, 5])
    assert [method for method, _ in requests] == ["get_object"] * 3


def test_requests_of_a_cold_start(archive: Archive, requests: Requests, monkeypatch: pytest.MonkeyPatch) -> None:
    chunks = random_chunks(6)
    monkeypatch.setattr(shard, "TARGET_BYTES", {"low": 2**20, "high": 3 * chunks[0]["high"].nbytes + 1500, "prompt": 0})
    manifest = write_index(archive, chunks)
    high_shards = [entry for entry in manifest.shards if entry.part == "high"]
    assert len(high_shards) > 1
    reader = archive.open_index("holiday.mp4")
    requests.clear()
    reader.high()
    assert [method for method, _ in requests] == ["get_object"] * len(high_shards)
    requests.clear()
    archive.open_index(video().video_id, spec=spec())
    assert "put_object" not in {method for method, _ in requests}
    assert len(requests) <= 4


def test_commit_is_one_conditional_put(archive: Archive, requests: Requests) -> None:
    manifest = write_index(archive)
    puts = [arguments for method, arguments in requests if method == "put_object"]
    assert {method for method, _ in requests if "multipart" in method} == set()
    commit = next(put for put in puts if put["Key"].endswith("manifest.json"))
    assert commit["IfNoneMatch"] == "*"
    after = puts[puts.index(commit) + 1 :]
    assert [put["Key"].rpartition("/")[0].rpartition("/")[2] for put in after] == ["catalog"]
    assert len(puts) == len(manifest.shards) + 3  # and the model's description, the manifest, the catalog's row


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
