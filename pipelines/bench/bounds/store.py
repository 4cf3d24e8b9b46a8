"""Writing a video's KVs to a local archive and reading them back, beside plain files of as many bytes.

What is in object storage: ``videox2l bench storage``. Codecs other than ``raw``: ``videox2l bench local``.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from pipelines.bench.bounds.sizes import PROMPT_TOKENS, Subject
from pipelines.bench.rows.report import Row, row_of
from pipelines.bench.rows.timing import Times, Work, in_turn
from videox2l.config import SamplingConfig
from videox2l.identity import VideoIdentity
from videox2l.kv import LEVELS, ChunkKV, Level
from videox2l.prefill import index_spec
from videox2l.store import Archive, IndexReader, Manifest

_IDENTITY = VideoIdentity("0" * 32, "random.mp4", "file:///random.mp4", 1, "0" * 64)


def measure(subject: Subject, folder: Path, repeats: int, progress: Callable[[str], None]) -> Iterator[Row]:
    """The shortest of the videos: bytes are bytes."""
    chunks = min(subject.size.lengths)
    progress(f"store: {chunks} chunks")
    prompt = subject.random_kv(PROMPT_TOKENS).to(device="cpu")
    kvs: list[ChunkKV] = [
        {
            "low": subject.random_kv(subject.low_tokens()).to(device="cpu"),
            "high": subject.random_kv(subject.high_tokens()).to(device="cpu"),
        }
        for _ in range(chunks)
    ]
    spec = index_spec(subject.model, SamplingConfig(), subject.size.compression)
    numbers = itertools.count()

    def write() -> Work:
        """Into a new archive each time."""
        place = folder / f"store-{next(numbers)}"
        archive = Archive.open(place, create=True)

        def work() -> Manifest:
            with archive.create_index(_IDENTITY, spec) as writer:
                writer.put_prompt(prompt)
                for number, kv in enumerate(kvs):
                    writer.append(number, number, number + 1, 1, kv)
                return writer.commit()

        return work

    kept = folder / f"store-{next(numbers)}"
    archive = Archive.open(kept, create=True)
    with archive.create_index(_IDENTITY, spec) as writer:
        writer.put_prompt(prompt)
        for number, kv in enumerate(kvs):
            writer.append(number, number, number + 1, 1, kv)
        reader = IndexReader(archive.storage, writer.commit())
    data = [(kept / reader.manifest.shard_path(n)).read_bytes() for n in range(len(reader.manifest.shards))]
    times = in_turn([write, lambda: _plain_write(folder / f"plain-{next(numbers)}", data)], subject.device, repeats)
    yield _row(
        chunks, "write, until it is committed", "plain files of as many bytes, synced", times, sum(map(len, data))
    )
    for place in folder.glob("plain-*"):
        shutil.rmtree(place)
    for level in LEVELS:
        size = sum(chunk.levels[level].length for chunk in reader.manifest.chunks)
        ways = [lambda level=level: _read(reader, level), lambda level=level: _plain_read(kept, reader, level)]
        times = in_turn(ways, subject.device, repeats)
        yield _row(chunks, f"read {level} into checked tensors", "plain reads of the same files", times, size)


def _plain_write(folder: Path, data: list[bytes]) -> Work:
    folder.mkdir()

    def work() -> None:
        for number, content in enumerate(data):
            with (folder / str(number)).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())

    return work


def _read(reader: IndexReader, level: Level) -> Work:
    every = range(len(reader.manifest.chunks))
    return lambda: reader.high(every) if level == "high" else reader.low_many(every)


def _plain_read(folder: Path, reader: IndexReader, level: Level) -> Work:
    manifest = reader.manifest
    paths = [folder / manifest.shard_path(n) for n, shard in enumerate(manifest.shards) if shard.part == level]
    return lambda: [path.read_bytes() for path in paths]


def _row(chunks: int, how: str, bound: str, times: Times, size: int) -> Row:
    return row_of(
        times,
        part="store",
        case=f"{chunks} chunks, {how}",
        chunks=chunks,
        bound=bound,
        more={"MB": size / 1e6, "MB/s": size / 1e6 / times.median()},
    )
