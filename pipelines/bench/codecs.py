"""What each codec costs and saves: bytes, speed, and what becomes of a model's answers.

Every codec encodes and decodes the KVs of the same clips, at the low level, at the high level and at both. Then the
same questions are answered over what came back and compared with ``raw``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from time import thread_time
from typing import Any, Literal, get_args

import numpy as np
import torch

from pipelines.bench.answers import Outcome, StoredClip, accuracy, outcomes
from pipelines.bench.clips import PrefilledClip, prefill_clip
from videox2l.kv import KV, LEVELS, Level, concatenate
from videox2l.kv.codecs import CODECS, Codec
from videox2l.models import KVCompressibleModel

Stretch = Literal["chunk", "clip"]
"""How many tokens are encoded together. ``chunk``: as an archive does. ``clip``: all chunks of a clip as if they were
one, which shows what a model with larger chunks would see. The bundled model's chunks are tiny (at its default ratios
16 and 2 tokens; those of a 7B Video-XL have 720 and 45), so that what a codec spends on each chunk weighs most."""

Progress = Callable[[str], None]

_TIMED_PASSES = 3


@dataclass(frozen=True)
class SizeRow:
    """Bytes of one level's KVs of all clips, and speed in megabytes (10**6) of raw bytes a second of one CPU thread.

    It is the thread's own time that counts, so other work on the machine disturbs little.
    """

    codec: str
    level: Level
    dtype: str
    stretch: Stretch
    raw_bytes: int
    bytes: int
    encode_mb_s: float
    decode_mb_s: float

    @property
    def ratio(self) -> float:
        """Raw bytes for each stored one."""
        return self.raw_bytes / self.bytes


@dataclass(frozen=True)
class FidelityRow:
    """Answers over KVs that went through ``codec`` at ``levels``, against the same over raw KVs.

    The last row's codec, ``bfloat16``, is none: see :class:`Rounded`.

    ``logits_max`` and ``logits_mean`` are absolute changes of the first answer token's logits over all questions and
    the whole vocabulary; ``agreement`` is the share of greedy answers that stay the same. Both with the chunks that
    the scorer chose over raw KVs. ``chunks_agreement`` is the share of questions for which it chooses the same chunks
    over this row's KVs, and ``accuracy`` (by kind of question) is with the chunks it does choose; ``code, right chunk``
    re-loads the one that holds the answer.
    """

    codec: str
    levels: str
    stretch: Stretch
    logits_max: float
    logits_mean: float
    agreement: float
    chunks_agreement: float
    accuracy: dict[str, float]


@dataclass(frozen=True)
class CodecReport:
    """Everything that one run measured."""

    model: str
    clips: int
    questions: int
    sizes: tuple[SizeRow, ...]
    fidelity: tuple[FidelityRow, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        document = asdict(self)
        for row, measured in zip(document["sizes"], self.sizes, strict=True):
            row["ratio"] = measured.ratio
        return document


class Rounded:
    """A yardstick for what quantising costs: the rounding to bfloat16 that KVs of a real model have had anyway."""

    name = "bfloat16"
    lossless = False
    _raw = CODECS["raw"]

    def fields(self) -> tuple[str, ...]:
        return self._raw.fields()

    def encode(self, kv: KV) -> dict[str, bytes | memoryview | np.ndarray]:
        return self._raw.encode(kv.to(dtype=torch.bfloat16))

    def decode(self, fields: Mapping[str, memoryview], shape: tuple[int, int, int, int], dtype: torch.dtype) -> KV:
        return self._raw.decode(fields, shape, torch.bfloat16).to(dtype=dtype)


def silent(line: str) -> None:
    """Report nothing."""


def bench_codecs(
    model: KVCompressibleModel, *, clips: int = 3, seed: int = 0, progress: Progress = silent
) -> CodecReport:
    """Measure every codec of :data:`~videox2l.kv.codecs.CODECS` on ``clips`` clips; ``seed`` picks other ones."""
    with one_thread():
        prefilled = []
        for number in range(clips):
            progress(f"rendering and prefilling clip {number + 1} of {clips}")
            prefilled.append(prefill_clip(model, number, seed))
        sizes = tuple(_sizes(model, prefilled, progress))
        fidelity = tuple(_fidelity(model, prefilled, progress))
    questions = sum(len(clip.questions) for clip in prefilled)
    return CodecReport(model.name, clips, questions, sizes, fidelity)


@contextmanager
def one_thread() -> Iterator[None]:
    """Measure on one CPU thread, whatever the machine has."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def encode(codec: Codec, kv: KV) -> dict[str, memoryview]:
    """As a reader would get it."""
    return {name: np.frombuffer(buffer, np.uint8).data for name, buffer in codec.encode(kv).items()}


def decode(codec: Codec, fields: dict[str, memoryview], like: KV) -> KV:
    """The KV that was encoded, of the shape and dtype of ``like``."""
    layers, heads, tokens, dim = like.keys_LHTD.shape
    return codec.decode(fields, (layers, heads, tokens, dim), like.keys_LHTD.dtype)


def units(clip: PrefilledClip, level: Level, stretch: Stretch) -> list[KV]:
    """What is encoded at a time."""
    kvs = [chunk[level] for chunk in clip.chunks]
    return [concatenate(kvs)] if stretch == "clip" else kvs


def _sizes(model: KVCompressibleModel, clips: Sequence[PrefilledClip], progress: Progress) -> Iterator[SizeRow]:
    # What real models store is bfloat16, whatever this one computes in.
    dtypes = dict.fromkeys((model.geometry.dtype, "bfloat16"))
    for dtype in dtypes:
        for stretch in get_args(Stretch):
            for level in LEVELS:
                kvs = [kv.to(dtype=getattr(torch, dtype)) for clip in clips for kv in units(clip, level, stretch)]
                for codec in CODECS.values():
                    progress(f"{codec.name}: bytes and speed, {level} level as {dtype}")
                    yield _size(codec, level, dtype, stretch, kvs)


def _size(codec: Codec, level: Level, dtype: str, stretch: Stretch, kvs: Sequence[KV]) -> SizeRow:
    encoding, decoding = float("inf"), float("inf")
    for _ in range(_TIMED_PASSES):
        start = thread_time()
        encoded = [encode(codec, kv) for kv in kvs]
        middle = thread_time()
        for fields, kv in zip(encoded, kvs, strict=True):
            decode(codec, fields, kv)
        # The fastest pass: other work on the machine, which shares its caches, only ever makes one slower.
        encoding, decoding = min(encoding, middle - start), min(decoding, thread_time() - middle)
    raw_bytes = sum(kv.nbytes for kv in kvs)
    stored = sum(buffer.nbytes for fields in encoded for buffer in fields.values())
    megabytes = raw_bytes / 1e6
    return SizeRow(codec.name, level, dtype, stretch, raw_bytes, stored, megabytes / encoding, megabytes / decoding)


def _fidelity(model: KVCompressibleModel, clips: Sequence[PrefilledClip], progress: Progress) -> Iterator[FidelityRow]:
    progress("raw: answers")
    plain = [StoredClip(clip, {level: units(clip, level, "chunk") for level in LEVELS}) for clip in clips]
    baseline = [outcome for clip in plain for outcome in outcomes(model, clip)]
    for codec in (*CODECS.values(), Rounded()):
        for stretch, levels in _cases(codec):
            name = " + ".join(levels)
            progress(f"{codec.name}: answers, {name} by {stretch}")
            found = [_recode(codec, clip, levels, stretch) for clip in clips]
            same = all(_identical(a, b) for a, b in zip(found, plain, strict=True))
            measured = baseline if same else _answers(model, found, baseline)
            yield _compare(codec.name, name, stretch, baseline, measured)


def _cases(codec: Codec) -> Iterator[tuple[Stretch, tuple[Level, ...]]]:
    """One is enough where nothing changes and for the yardstick, to which the stretch is all the same."""
    if codec.lossless or isinstance(codec, Rounded):
        yield "chunk", LEVELS
        return
    alone: list[tuple[Level, ...]] = [(level,) for level in LEVELS]
    yield from itertools.product(get_args(Stretch), [*alone, LEVELS])


def _answers(model: KVCompressibleModel, clips: Sequence[StoredClip], baseline: Sequence[Outcome]) -> list[Outcome]:
    remaining = iter(baseline)
    return [
        outcome
        for clip in clips
        for outcome in outcomes(model, clip, [next(remaining).chosen for _ in clip.source.questions])
    ]


def _recode(codec: Codec, clip: PrefilledClip, levels: Sequence[Level], stretch: Stretch) -> StoredClip:
    """The clip after a round trip through ``codec`` at ``levels``."""
    kvs: dict[Level, list[KV]] = {}
    for level in LEVELS:
        plain = units(clip, level, "chunk")
        if level not in levels:
            kvs[level] = plain
            continue
        back = [decode(codec, encode(codec, kv), kv) for kv in units(clip, level, stretch)]
        kvs[level] = back if stretch == "chunk" else _split(back[0], [kv.tokens for kv in plain])
    return StoredClip(clip, kvs)


def _split(kv: KV, tokens: Sequence[int]) -> list[KV]:
    parts = zip(kv.keys_LHTD.split(list(tokens), 2), kv.values_LHTD.split(list(tokens), 2), strict=True)
    return [KV(keys_LHTD, values_LHTD) for keys_LHTD, values_LHTD in parts]


def _identical(one: StoredClip, other: StoredClip) -> bool:
    return all(
        torch.equal(a.keys_LHTD, b.keys_LHTD) and torch.equal(a.values_LHTD, b.values_LHTD)
        for level in LEVELS
        for a, b in zip(one.kvs[level], other.kvs[level], strict=True)
    )


def _compare(
    codec: str, levels: str, stretch: Stretch, baseline: Sequence[Outcome], measured: Sequence[Outcome]
) -> FidelityRow:
    pairs = list(zip(baseline, measured, strict=True))
    change_QV = torch.stack([(b.logits_V - m.logits_V).abs() for b, m in pairs])
    return FidelityRow(
        codec=codec,
        levels=levels,
        stretch=stretch,
        logits_max=float(change_QV.max()),
        logits_mean=float(change_QV.mean()),
        agreement=sum(b.answer == m.answer for b, m in pairs) / len(pairs),
        chunks_agreement=sum(b.chosen == m.chosen for b, m in pairs) / len(pairs),
        accuracy=accuracy(measured),
    )
