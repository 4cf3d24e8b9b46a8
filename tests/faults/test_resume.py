"""A prefill that goes on from a journal comes out as one that was never disturbed."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import pytest

from tests.archives import COMPRESSION, random_chunks
from tests.unit.store.samples import assert_same
from videox2l.config import SamplingConfig
from videox2l.errors import CorruptDataError
from videox2l.identity import VideoIdentity
from videox2l.kv import Level
from videox2l.models import KVCompressibleModel
from videox2l.prefill import index_spec, prefill_chunks
from videox2l.prefill.append import stored_state
from videox2l.prefill.chunks import begins_as_planned, can_be_continued
from videox2l.store import Archive, IndexReader, IndexSpec, IndexWriter, Manifest

CHUNKS = 6
DIGEST = hashlib.sha256(b"random").hexdigest()
VIDEO = VideoIdentity(DIGEST[:32], "random.mp4", "/videos/random.mp4", 1, DIGEST)


class LostError(Exception):
    """Ends a prefill."""


def spec_of(model: KVCompressibleModel, codec: str = "raw") -> IndexSpec:
    codecs: dict[Level, str] = {"low": codec, "high": codec}
    return index_spec(model, SamplingConfig(), COMPRESSION, codecs)


def begin(archive: Archive, spec: IndexSpec) -> IndexWriter:
    writer = archive.create_index(VIDEO, spec)
    writer.keep_journal(every_s=0)
    return writer


def lose(archive: Archive, model: KVCompressibleModel, spec: IndexSpec, behind: int) -> Manifest:
    """Prefill so many chunks, and lose the process."""

    def count(done: int, total: int) -> None:
        if done == behind:
            writer._uploads.drain()
            raise LostError

    with pytest.raises(LostError), begin(archive, spec) as writer:
        prefill_chunks(model, COMPRESSION, random_chunks(model, CHUNKS), CHUNKS, writer, count)
    [left] = archive.unfinished(VIDEO, spec)
    return left


@pytest.fixture(scope="module")
def whole(random_model: KVCompressibleModel, tmp_path_factory: pytest.TempPathFactory) -> IndexReader:
    archive = Archive.open(tmp_path_factory.mktemp("whole"), create=True)
    with archive.create_index(VIDEO, spec_of(random_model)) as writer:
        prefill_chunks(random_model, COMPRESSION, random_chunks(random_model, CHUNKS), CHUNKS, writer)
        writer.commit()
    return archive.open_index(VIDEO.video_id)


@pytest.mark.parametrize("codec", ["raw", "squeeze"])
@pytest.mark.parametrize("behind", [1, 4, CHUNKS])
def test_the_same_kvs(
    random_model: KVCompressibleModel, whole: IndexReader, tmp_path: Path, behind: int, codec: str
) -> None:
    archive, spec = Archive.open(tmp_path / "archive", create=True), spec_of(random_model, codec)
    left = lose(archive, random_model, spec, behind)
    assert len(left.chunks) == behind
    planned = [item.chunk for item in random_chunks(random_model, CHUNKS)]
    assert begins_as_planned(left.chunks, planned)
    assert not begins_as_planned(left.chunks, planned[1:])
    with begin(archive, spec) as writer:
        assert writer.resume(left)
        state = stored_state(IndexReader(archive.storage, left), behind)
        rest = (item for item in random_chunks(random_model, CHUNKS) if item.chunk.index >= behind)
        report = prefill_chunks(random_model, COMPRESSION, rest, CHUNKS, writer, resume=state)
        writer.commit()
    assert report.chunks == CHUNKS - behind
    reader = archive.open_index(VIDEO.video_id)
    assert_same(reader.prompt(), whole.prompt())
    for index, (high, expected) in enumerate(zip(reader.high(), whole.high(), strict=True)):
        assert_same(high, expected)
        assert_same(reader.low(index), whole.low(index))
        assert reader.thumbnail(index) == whole.thumbnail(index) is not None


def test_damaged_kvs_are_not_gone_on_from(random_model: KVCompressibleModel, tmp_path: Path) -> None:
    archive, spec = Archive.open(tmp_path / "archive", create=True), spec_of(random_model)
    left = lose(archive, random_model, spec, 3)
    path = left.shard_path(left.chunks[1].levels["low"].shard)
    data = bytearray(archive.storage.read(path))
    data[len(data) // 2] ^= 1
    archive.storage.write(path, bytes(data))
    with pytest.raises(CorruptDataError, match="checksum"), begin(archive, spec) as writer:
        assert writer.resume(left)
        prefill_chunks(
            random_model, COMPRESSION, [], CHUNKS, writer, resume=stored_state(IndexReader(archive.storage, left), 3)
        )


def test_rounded_kvs_cannot_be_gone_on_from(random_model: KVCompressibleModel) -> None:
    lossless = spec_of(random_model)
    assert can_be_continued(lossless)
    assert not can_be_continued(dataclasses.replace(lossless, codecs={"low": "raw", "high": "int8"}))
