"""Chunked prefill of a stock decoder, in one pass for both levels.

A chunk runs dense behind (prompt, older chunks at the low level, a window of dense chunks), at contiguous positions.
Both levels are made of what that pass leaves. With a low ratio of 1 it is the stock model's own prefill, in pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from videox2l.config import CompressionConfig
from videox2l.errors import ModelError
from videox2l.kv import KV, LEVELS, ChunkKV, Level, concatenate, mix
from videox2l.kv.rope import rotate
from videox2l.models.cache import to_cache
from videox2l.models.plain.capture import Caught
from videox2l.models.plain.compressors import COMPRESSORS, DenseChunk
from videox2l.models.plain.stretch import Place, Stretch
from videox2l.models.protocol import PrefillState

if TYPE_CHECKING:
    from videox2l.models.plain.model import PlainModel


class PlainPrefill:
    """The running prefill of one video. Feed its chunks in order; each call returns both levels of that chunk."""

    def __init__(self, model: PlainModel, compression: CompressionConfig, resume: PrefillState | None = None) -> None:
        """Run the prompt; with ``resume``, go on behind the chunks it holds.

        :raises ModelError: the settings have a window of dense chunks, of which an archive knows nothing.
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
        self._chunks = 0
        self._finished = False
        self._times_s: tuple[float, ...] = ()
        self.after_pass: Callable[[Level], None] = lambda _: None
        device = model.decoder.device
        with torch.inference_mode():
            ids_T = torch.tensor(model.chat.prefix_ids, device=device)
            rows_TN = model.decoder.get_input_embeddings()(ids_T)
            prompt = self._run(Stretch(rows_TN, slice(0, 0), slice(0, len(rows_TN))), None)
        self._proxy_LQPD = prompt.queries
        self.prompt: KV = self._prompt(prompt.kv) if resume is None else resume.prompt.to(device=device)
        for kvs in () if resume is None else resume.chunks:
            self._keep(kvs, None)

    def expect(self, chunks: int, raw_tokens: int) -> None:
        """Nothing is reserved."""

    def at(self, times_s: Sequence[float]) -> None:
        """When the next chunk's frames are shown, in seconds after the video's first."""
        self._times_s = tuple(times_s)

    def memory_tokens(self, level: Level) -> int:
        """Tokens of this level so far, the prompt included."""
        return self.prompt.tokens + self._kept[level]

    @torch.inference_mode()
    def append(self, visual_tokens_TN: torch.Tensor, *, last: bool) -> ChunkKV:
        """Compress the next chunk's ``[T, hidden]`` visual tokens at both levels; ``last`` marks the video's end.

        Rows of text (times between frames, a line break behind the video) are kept dense, behind what is kept of the
        others. Raises :class:`ModelError` after the last chunk.
        """
        if self._finished:
            raise ModelError("this prefill has had its last chunk: start another one for another video")
        memory = self._memory()
        stretch = self._model.arrange(visual_tokens_TN, self._place(memory, last))
        caught = self._run(stretch, memory)
        whole = self._dense(caught, stretch)
        visual, text = whole.part(stretch.visual), whole.part(stretch.text)
        kvs: dict[Level, KV] = {}
        for level in LEVELS:
            keep = self._kept_tokens(visual.kv.tokens, level, last)
            kept = whole.whole() if keep == visual.kv.tokens else self._compressed(visual, keep, text)
            kvs[level] = replace(kept, next_position=stretch.next_position)
            self.after_pass(level)
        seen_dense = replace(whole.whole(), next_position=stretch.next_position) if self._dense_window else None
        self._keep(kvs, seen_dense)
        self._finished, self._times_s = last, ()
        return kvs

    def _place(self, memory: Sequence[KV], last: bool) -> Place:
        position = [self.prompt, *memory][-1].next_position
        tokens = self.prompt.tokens
        first_frame = self._chunks * self.compression.frames_per_chunk
        return Place(first_frame, self._times_s, tokens if position is None else position, tokens, last)

    def _dense(self, caught: Caught, stretch: Stretch) -> DenseChunk:
        model = self._model
        return DenseChunk(
            caught.kv, caught.queries, self._proxy_LQPD, model.tokens_per_step, stretch.positions_3T, model.rotate_to
        )

    def _prompt(self, kv: KV) -> KV:
        if not self._model.three_positions:
            return kv
        tables = self._model.rope_tables(0, kv.tokens, kv.keys_LHTD.dtype)
        return KV(rotate(kv.keys_LHTD, tables), kv.values_LHTD, next_position=kv.tokens)

    def _kept_tokens(self, tokens: int, level: Level, last: bool) -> int:
        ratio = self.compression.ratio(level, edge=last or self._chunks == 0)
        return kept_tokens(tokens, ratio, self.compression.remainder)

    def _compressed(self, visual: DenseChunk, keep: int, text: DenseChunk) -> KV:
        settings = self._model.settings
        return concatenate([COMPRESSORS[settings.compressor](visual, keep, settings.share), text.whole()])

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
        decoder, rows_TN = self._model.decoder, stretch.rows_TN
        cache, start = None, 0
        if memory is not None:
            mixed = mix(self.prompt, memory, lambda count, dtype: self._model.rope_tables(0, count, dtype))
            cache, start = to_cache(mixed), mixed.tokens
        if stretch.positions_3T is None or memory is None:
            positions = torch.arange(start, start + len(rows_TN), device=rows_TN.device)[None]
        else:  # the memory is moved such that text behind it begins at ``start``
            positions = stretch.positions_3T[:, None] + start - self._place(memory, False).position
        with self._model.capture.catch() as caught:
            decoder.base_model(
                inputs_embeds=rows_TN[None].to(decoder.dtype),
                position_ids=positions,
                past_key_values=cache,
                use_cache=cache is not None,
                **stretch.more,
            )
        return caught


def kept_tokens(tokens: int, ratio: int, remainder: str) -> int:
    """How many of a chunk's ``tokens`` are kept at ``ratio``: at least one."""
    return max(1, tokens // ratio) if remainder == "floor" else -(-tokens // ratio)
