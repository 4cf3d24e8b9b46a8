"""How fast a local archive's KVs become tensors, beside plain reads of the same files: ``videox2l bench local``."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from rich.table import Table

from videox2l.identity import VideoIdentity
from videox2l.kv import KV
from videox2l.kv.codecs import CODECS
from videox2l.store import Archive, IndexReader, IndexSpec

# The shape of a 7B Video-XL's KVs; eight chunks of 8 MiB are the 64 MiB of one low shard.
LAYERS, KV_HEADS, HEAD_DIM = 28, 4, 128
CHUNKS = 8
CHUNK_BYTES = 8 * 2**20


@dataclass(frozen=True)
class Figure:
    """``seconds``: median. ``ratio``: raw bytes a second, as a share of those of plain reads of the ``raw`` files."""

    name: str
    seconds: float
    ratio: float


def measure(repeats: int = 5, chunk_bytes: int = CHUNK_BYTES) -> list[Figure]:
    """Read the same KVs in turn with every codec, ``repeats`` times, from a temporary archive in the page cache."""
    tokens = max(1, chunk_bytes // (4 * LAYERS * KV_HEADS * HEAD_DIM))
    shape = (LAYERS, KV_HEADS, tokens, HEAD_DIM)
    kv = KV(torch.randn(shape).bfloat16(), torch.randn(shape).bfloat16())
    with tempfile.TemporaryDirectory() as folder:
        archive = Archive.open(folder, create=True)
        readers = {name: write_index(archive, name, kv) for name in CODECS}
        ways: dict[str, Callable[[], object]] = {"plain read()": lambda: _plain(Path(folder), readers["raw"])}
        ways |= {name: lambda reader=reader: reader.low_many(range(CHUNKS)) for name, reader in readers.items()}  # type: ignore[misc]
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(repeats + 1):
            for name, read in ways.items():
                began = time.perf_counter()
                read()
                seconds[name].append(time.perf_counter() - began)
    plain = seconds["plain read()"][1:]  # the first round warms up
    return [
        Figure(name, median(taken[1:]), median(p / t for p, t in zip(plain, taken[1:], strict=True)))
        for name, taken in seconds.items()
    ]


def table(figures: list[Figure]) -> Table:
    """The figures for people."""
    shown = Table(title="Low KVs into tensors", title_justify="left", box=None)
    for heading in ("way", "ms", "speed of plain read()"):
        shown.add_column(heading, justify="left" if heading == "way" else "right")
    for figure in figures:
        shown.add_row(figure.name, f"{figure.seconds * 1000:.1f}", f"{figure.ratio:.0%}")
    return shown


def write_index(archive: Archive, codec: str, kv: KV) -> IndexReader:
    """An index of ``CHUNKS`` chunks whose low KVs are all ``kv``; there are no high ones."""
    spec = IndexSpec(
        model_fingerprint="0" * 32,
        model={},
        sampling={},
        compression={},
        layers=LAYERS,
        kv_heads=KV_HEADS,
        head_dim=HEAD_DIM,
        dtype="bfloat16",
        codecs={"low": codec, "high": "raw"},
    )
    none = KV(kv.keys_LHTD[:, :, :0], kv.values_LHTD[:, :, :0])
    with archive.create_index(VideoIdentity("0" * 32, "random", "random", 0, "0" * 64), spec) as writer:
        writer.put_prompt(none)
        for chunk in range(CHUNKS):
            writer.append(chunk, chunk, chunk + 1, 1, {"low": kv, "high": none})
        return IndexReader(archive.storage, writer.commit())


def _plain(folder: Path, reader: IndexReader) -> None:
    for number, shard in enumerate(reader.manifest.shards):
        if shard.part == "low":
            (folder / reader.manifest.shard_path(number)).read_bytes()
