"""The loop over a video's chunks: frames in, both levels of KVs out, each chunk as soon as it is there."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from videox2l.config import CompressionConfig, SamplingConfig, to_dict
from videox2l.errors import ConfigError, TruncatedVideoError
from videox2l.kv import LEVELS, ChunkKV, Level
from videox2l.kv.codecs import CODECS, codec
from videox2l.models import KVCompressibleModel, PrefillState, Timeline
from videox2l.models.laps import Laps
from videox2l.models.retriever import Retriever
from videox2l.models.transfer import HostCopies
from videox2l.store import DEFAULT_CODECS, ChunkEntry, IndexSpec, IndexWriter
from videox2l.store.documents import checksum
from videox2l.store.spec import ROPE_CONVENTION, ROPE_IN_PLACE
from videox2l.video import Chunk, DecodedChunk, thumbnail

Progress = Callable[[int, int], None]
"""Called after every chunk with (chunks done, chunks in all)."""


@dataclass(frozen=True)
class PrefillReport:
    """What a prefill did. ``beyond_context`` says how far each level's positions went past the model's context.

    ``seconds``: of ``vision``, the ``low`` and the ``high`` pass (by a GPU's own clock), and ``store``, which is to
    encode KVs and thumbnails and to wait for uploads.
    """

    chunks: int
    frames: int
    beyond_context: dict[Level, int]
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def warning(self) -> str | None:
        """A sentence for the user where positions the model was never trained on were used."""
        past = {level: count for level, count in self.beyond_context.items() if count > 0}
        if not past:
            return None
        words = " and ".join(f"the {level} pass by {count} tokens" for level, count in past.items())
        return (
            f"the video exceeds the model's context ({words}): answers about its end may be poor; sample fewer frames"
        )


def index_spec(
    model: KVCompressibleModel,
    sampling: SamplingConfig,
    compression: CompressionConfig,
    codecs: Mapping[Level, str] = DEFAULT_CODECS,
) -> IndexSpec:
    """Everything that decides whether stored KVs may be used again, for this model and these settings.

    Raises :class:`ConfigError` for a codec that there is not.
    """
    check_codecs(codecs)
    geometry = model.geometry
    return IndexSpec(
        model_fingerprint=model.identity.fingerprint,
        model=model.identity.document,
        sampling=to_dict(sampling),
        compression=to_dict(compression),
        layers=geometry.layers,
        kv_heads=geometry.kv_heads,
        head_dim=geometry.head_dim,
        decode=dataclasses.asdict(model.frame_format),
        dtype=geometry.dtype,
        codecs=codecs,
        rope=ROPE_IN_PLACE if geometry.keys_in_place else ROPE_CONVENTION,
    )


def check_codecs(codecs: Mapping[Level, str]) -> None:
    """Raise :class:`ConfigError` if there is no such codec."""
    for level, name in codecs.items():
        try:
            codec(name)
        except ValueError as error:
            raise ConfigError(f"the {level} {error}") from error


def frames_checksum(frames_FHWC: np.ndarray) -> str:
    """XXH3-128 of decoded frames, uint8 [F, H, W, 3] in C order, as manifests keep it for each chunk."""
    return checksum(np.ascontiguousarray(frames_FHWC).data.cast("B"))


def timeline_of(chunks: Sequence[Chunk]) -> Timeline:
    """When the frames of a plan's chunks are shown; ``chunks`` are all of the video's."""
    return Timeline(tuple(time_s for chunk in chunks for time_s in chunk.times_s), chunks[-1].end_s)


def can_be_continued(spec: IndexSpec) -> bool:
    """Whether stored KVs are, bit for bit, those that a prefill goes on from."""
    return all(CODECS[name].lossless for name in spec.codecs.values())


def begins_as_planned(stored: Sequence[ChunkEntry], planned: Sequence[Chunk]) -> bool:
    """Whether ``stored`` are the first chunks of a plan: as many frames each, at the same times."""
    spans = [(entry.start_s, entry.end_s, entry.frames) for entry in stored]
    return spans == [(chunk.start_s, chunk.end_s, len(chunk.pts)) for chunk in planned[: len(stored)]]


def prefill_chunks(
    model: KVCompressibleModel,
    compression: CompressionConfig,
    decoded: Iterable[DecodedChunk],
    total: int,
    writer: IndexWriter,
    progress: Progress | None = None,
    resume: PrefillState | None = None,
    thumbnails: bool = True,
    timeline: Timeline | None = None,
    retriever: Retriever | None = None,
) -> PrefillReport:
    """Prefill a video up to its chunk number ``total`` - 1 and append both levels of each to ``writer``.

    ``decoded`` begins with the chunk that ``writer`` wants next: the first, or the one behind the chunks that it has
    kept, which ``resume`` then holds. Does not commit. The report counts what was prefilled here. Where ``writer`` has
    all chunks already, nothing is. ``thumbnails``: also store a small picture of each chunk. ``timeline``: when all
    the video's frames are shown (:func:`timeline_of`), which some models are told.
    ``retriever``: also store what it makes of each chunk; ``writer`` was told of it.

    Raises :class:`TruncatedVideoError` when fewer chunks arrive, ``ValueError`` when they arrive out of order.
    """
    if writer.chunks == total:  # the last one was compressed as such, so no prefill could go on from there
        return PrefillReport(0, 0, dict.fromkeys(LEVELS, 0))
    prefill = model.start_prefill(compression, resume, timeline)
    prefill.expect(total, compression.frames_per_chunk * model.dense_tokens_per_frame)
    if resume is None:
        writer.put_prompt(prefill.prompt)
    kept, frames, store_s = writer.chunks, 0, 0.0
    window = dict.fromkeys(LEVELS, 0)
    device = model.decoder.device
    laps = Laps(device)
    prefill.after_pass = laps.end

    def computed() -> Iterator[tuple[tuple[DecodedChunk, np.ndarray | None], ChunkKV]]:
        for due, item in enumerate(decoded, start=kept):
            if item.chunk.index != due:
                raise ValueError(f"chunk {item.chunk.index} arrived where {due} was due")
            laps.begin()
            visual_tokens_TN = model.encode_frames(torch.from_numpy(item.frames_FHWC))
            laps.end("vision")
            before = {level: prefill.memory_tokens(level) for level in LEVELS}
            kvs = prefill.append(visual_tokens_TN, last=due == total - 1)
            for level in LEVELS:
                window[level] = max(window[level], before[level] + len(visual_tokens_TN) + kvs[level].tokens)
            vectors = None if retriever is None else retriever.of_chunk(item.frames_FHWC, visual_tokens_TN)
            yield (item, vectors), kvs

    for (item, vectors), copy in HostCopies(device).each(computed()):
        kvs, began = copy.result(), time.perf_counter()
        chunk, seen = item.chunk, frames_checksum(item.frames_FHWC)
        picture = thumbnail(item.frames_FHWC) if thumbnails else None
        writer.append(chunk.index, chunk.start_s, chunk.end_s, len(item.frames_FHWC), kvs, seen, picture, vectors)
        store_s += time.perf_counter() - began
        frames += len(item.frames_FHWC)
        if progress is not None:
            progress(writer.chunks, total)
    if writer.chunks != total:
        raise TruncatedVideoError(f"{writer.video.name} ended after {writer.chunks} of {total} planned chunks")
    beyond = {level: window[level] - model.context_length for level in LEVELS}
    return PrefillReport(writer.chunks - kept, frames, beyond, laps.seconds() | {"store": store_s})
