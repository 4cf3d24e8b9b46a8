"""Chunked prefill of a stock decoder, in one pass for both levels.

A chunk runs dense behind (prompt, older chunks at the low level, a window of dense chunks), at contiguous positions.
Both levels are made of what that pass leaves. With a low ratio of 1 it is the stock model's own prefill, in pieces.

Text between frames runs with the chunk whose frame it stands before, and is kept dense at both levels. What a family
writes before a video's first frame belongs to the prompt, and what stands behind its last one to the question.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from videox2l.config import CompressionConfig
from videox2l.errors import ConfigError, ModelError
from videox2l.kv import KV, LEVELS, ChunkKV, Level, concatenate, mix
from videox2l.models.cache import to_cache
from videox2l.models.plain.capture import Caught
from videox2l.models.plain.compressors import DenseChunk, Kept, find_compressor
from videox2l.models.plain.stretch import Place, Stretch
from videox2l.models.protocol import PrefillState, Timeline

if TYPE_CHECKING:
    from videox2l.models.plain.model import PlainModel


class PlainPrefill:
    """The running prefill of one video. Feed its chunks in order; each call returns both levels of that chunk."""

    def __init__(
        self,
        model: PlainModel,
        compression: CompressionConfig,
        resume: PrefillState | None = None,
        timeline: Timeline | None = None,
    ) -> None:
        """Run the prompt; with ``resume``, go on behind the chunks it holds.

        :raises ConfigError: the compression is for Video-XL, or cuts through steps in time.
        :raises ModelError: the settings have a window of dense chunks, of which an archive knows nothing; or what
            ``resume`` holds was made with another prompt, or ``timeline`` is needed and missing.
        """
        model.check_compression(compression)
        self._model, self.compression = model, compression
        self._dense_window = model.settings.window if compression.low_ratio > 1 else 0
        if resume is not None and self._dense_window:
            raise ModelError(
                "a prefill with a window of dense chunks cannot be resumed: ingest the video anew with --replace, or "
                "use the model with window=0"
            )
        self._past: list[KV] = []
        self._window: list[KV] = []
        self._kept = dict.fromkeys(LEVELS, 0)
        self._chunks = self._frames = 0
        self._finished = False
        self._timeline = model.known(timeline)
        self.after_pass: Callable[[Level], None] = lambda _: None
        device = model.decoder.device
        with torch.inference_mode():
            rows_TN = model.embedded(model.prompt_ids(self._timeline))
            caught = self._run(Stretch(rows_TN, torch.zeros(len(rows_TN), dtype=torch.bool)), None)
            prompt = self._in_place(caught.kv, torch.arange(len(rows_TN), device=device).expand(3, -1), len(rows_TN))
        self._proxy_LQPD = caught.queries
        self.prompt: KV = prompt if resume is None else resume.prompt.to(device=device)
        self._check_prompt(prompt)
        for kvs in () if resume is None else resume.chunks:
            self._keep(kvs, None)
            self._frames += compression.frames_per_chunk  # only a video's last chunk can have fewer

    def expect(self, chunks: int, raw_tokens: int) -> None:
        """Nothing is reserved."""

    def memory_tokens(self, level: Level) -> int:
        """Tokens of this level so far, the prompt included."""
        return self.prompt.tokens + self._kept[level]

    @torch.inference_mode()
    def append(self, visual_tokens_TN: torch.Tensor, *, last: bool) -> ChunkKV:
        """Compress the next chunk's ``[T, hidden]`` visual tokens at both levels; ``last`` marks the video's end.

        Rows that the model puts behind a video (a line break) are kept dense behind the last chunk's tokens. Raises
        :class:`ModelError` after the last chunk.
        """
        if self._finished:
            raise ModelError("this prefill has had its last chunk: start another one for another video")
        memory = self._memory()
        stretch = self._model.arrange(visual_tokens_TN, self._place(memory, last))
        self._frames += self._model.frames_in(visual_tokens_TN)
        caught = self._run(stretch, memory)
        whole = self._in_place(caught.kv, stretch.positions_3X, stretch.next_position)
        visual_T, text_S = stretch.visual_X.nonzero()[:, 0], (~stretch.visual_X).nonzero()[:, 0]
        chunk = self._dense(caught, stretch, visual_T if len(text_S) else slice(None))
        kvs: dict[Level, KV] = {}
        for level in LEVELS:
            kept = self._compress(chunk, level, last)
            kvs[level] = whole if kept is None else self._with_text(kept, chunk, visual_T, whole, text_S)
            self.after_pass(level)
        self._keep(kvs, whole)
        self._finished = last
        return kvs

    def _check_prompt(self, made: KV) -> None:
        """A prompt that names a video's length changes with it, and all that stands behind it."""
        if self._model.frame_text is None or made is self.prompt:
            return
        # Other machines round otherwise; another number is another token, and far away.
        stored, own = self.prompt.keys_LHTD, made.keys_LHTD
        if stored.shape != own.shape or not torch.allclose(stored[0].float(), own[0].float(), atol=0.05, rtol=0.05):
            raise ModelError(
                "the prompt in front of the stored chunks is another one than this video's: this model is told a "
                "video's length before its first frame, so a recording that has grown cannot be gone on with. Ingest "
                "it anew with --replace"
            )

    def _place(self, memory: Sequence[KV], last: bool) -> Place:
        tokens, position = self.prompt.tokens, [self.prompt, *memory][-1].next_position
        return Place(self._frames, self._timeline, tokens if position is None else position, tokens, last)

    def _dense(self, caught: Caught, stretch: Stretch, visual: torch.Tensor | slice) -> DenseChunk:
        positions_3X = stretch.positions_3X
        return DenseChunk(
            _at(caught.kv, visual),
            caught.queries[:, :, visual],
            self._proxy_LQPD,
            self._model.tokens_per_step,
            None if positions_3X is None else positions_3X[:, visual],
        )

    def _in_place(self, kv: KV, positions_3X: torch.Tensor | None, next_position: int | None) -> KV:
        """``kv``, whose keys are not rotated, as it is kept: models with three positions a token keep keys in place."""
        if positions_3X is None or not self._model.three_positions:
            return KV(kv.keys_LHTD, kv.values_LHTD)
        if positions_3X.ndim == 2:
            positions_3X = positions_3X[:, None, None]
        return KV(self._model.rotate_to(kv.keys_LHTD, positions_3X), kv.values_LHTD, next_position=next_position)

    def _with_text(self, kept: Kept, chunk: DenseChunk, visual_T: torch.Tensor, whole: KV, text_S: torch.Tensor) -> KV:
        """What was kept of the visual tokens, which stood at ``visual_T``, and all text of ``text_S``, in order."""
        positions_3X = kept.positions_3LHK
        if positions_3X is None and chunk.positions_3T is not None:
            positions_3X = chunk.positions_3T[:, kept.places_LHK]
        kv = self._in_place(kept, positions_3X, whole.next_position)
        if not len(text_S):
            return kv
        both, shape = concatenate([kv, _at(whole, text_S)]), kept.places_LHK.shape
        places_LHX = torch.cat([visual_T[kept.places_LHK], text_S.expand(*shape[:2], len(text_S))], dim=2)
        order_LHX = places_LHX.argsort(dim=2)
        rows_LHXD = order_LHX[..., None].expand(*order_LHX.shape, both.keys_LHTD.shape[-1])
        keys_LHXD, values_LHXD = (states.gather(2, rows_LHXD) for states in (both.keys_LHTD, both.values_LHTD))
        return KV(keys_LHXD, values_LHXD, next_position=whole.next_position)

    def _compress(self, chunk: DenseChunk, level: Level, last: bool) -> Kept | None:
        """``None`` where all tokens are kept."""
        ratio = self.compression.ratio(level, edge=last or self._chunks == 0)
        tokens = chunk.kv.tokens
        keep = kept_tokens(tokens, ratio, self.compression.remainder)
        settings = self._model.settings
        return None if keep == tokens else find_compressor(settings.compressor)(chunk, keep, settings.share)

    def _memory(self) -> list[KV]:
        dense = len(self._window)
        return self._past[: len(self._past) - dense] + self._window

    def _keep(self, kvs: ChunkKV, dense: KV | None) -> None:
        device = self._model.decoder.device
        self._past.append(kvs["low"].to(device=device))
        if dense is not None and self._dense_window:
            self._window = [*self._window, dense][-self._dense_window :]
        for level in LEVELS:
            self._kept[level] += kvs[level].tokens
        self._chunks += 1

    def _run(self, stretch: Stretch, memory: list[KV] | None) -> Caught:
        """The language model on ``stretch`` behind the prompt and ``memory``; ``None`` is the very beginning."""
        decoder, rows_XN = self._model.decoder, stretch.rows_XN
        cache, start = None, 0
        if memory is not None:
            mixed = mix(self.prompt, memory, lambda count, dtype: self._model.rope_tables(0, count, dtype))
            cache, start = to_cache(mixed), mixed.tokens
        if stretch.positions_3X is None or memory is None:
            positions = torch.arange(start, start + len(rows_XN), device=rows_XN.device)[None]
        else:  # the memory is moved such that text behind it begins at ``start``
            positions = stretch.positions_3X[:, None] + start - self._place(memory, last=False).position
        with self._model.capture.catch() as caught:
            decoder.base_model(
                inputs_embeds=rows_XN[None].to(decoder.dtype),
                position_ids=positions,
                past_key_values=cache,
                use_cache=cache is not None,
                **stretch.more,
            )
        return caught


def check_compression(compression: CompressionConfig, frames_per_step: int) -> None:
    """:raises ConfigError: it asks for what only Video-XL has a choice of, or its chunks cut through steps in time."""
    if compression.prefill != "exact":
        raise ConfigError(
            f"{compression.prefill} prefill is for Video-XL: a stock model makes both levels in one pass over its "
            "language model anyway, so leave the setting out"
        )
    if compression.frames_per_chunk % frames_per_step:
        raise ConfigError(
            f"this model takes {frames_per_step} frames at a time: chunks of {compression.frames_per_chunk} frames "
            f"would cut through them; use a multiple of {frames_per_step} (--frames-per-chunk)"
        )


def kept_tokens(tokens: int, ratio: int, remainder: str) -> int:
    """How many of a chunk's ``tokens`` are kept at ``ratio``: at least one."""
    return max(1, tokens // ratio) if remainder == "floor" else -(-tokens // ratio)


def _at(kv: KV, places: torch.Tensor | slice) -> KV:
    return KV(kv.keys_LHTD[:, :, places], kv.values_LHTD[:, :, places])
