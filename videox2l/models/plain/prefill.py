"""Chunked prefill of a stock decoder, in one pass for both levels.

A chunk runs dense behind (prompt, older chunks at the low level, a window of dense chunks), at contiguous positions.
Both levels are made of what that pass leaves. With a low ratio of 1 it is the stock model's own prefill, in pieces.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from videox2l.config import CompressionConfig
from videox2l.errors import ModelError
from videox2l.kv import KV, LEVELS, ChunkKV, Level, concatenate, mix
from videox2l.models.cache import to_cache
from videox2l.models.plain.capture import Caught
from videox2l.models.plain.compressors import DenseChunk, find_compressor
from videox2l.models.protocol import PrefillState

if TYPE_CHECKING:
    from videox2l.models.plain.model import PlainModel


class PlainPrefill:
    """The running prefill of one video. Feed its chunks in order; each call returns both levels of that chunk."""

    def __init__(self, model: PlainModel, compression: CompressionConfig, resume: PrefillState | None = None) -> None:
        """Run the prompt; with ``resume``, go on behind the chunks it holds.

        :raises ModelError: the settings have a window of dense chunks, of which an archive knows nothing.
        """
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
        self.after_pass: Callable[[Level], None] = lambda _: None
        device = model.decoder.device
        with torch.inference_mode():
            ids_T = torch.tensor(model.chat.prefix_ids, device=device)
            prompt = self._run(model.decoder.get_input_embeddings()(ids_T), None)
        self._proxy_LQPD = prompt.queries
        self.prompt: KV = prompt.kv if resume is None else resume.prompt.to(device=device)
        for kvs in () if resume is None else resume.chunks:
            self._keep(kvs, None)

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
        behind_SN = self._model.rows_behind if last else visual_tokens_TN[:0]
        tokens = len(visual_tokens_TN)
        caught = self._run(torch.cat([visual_tokens_TN, behind_SN.to(visual_tokens_TN)]), self._memory())
        whole = caught.kv
        dense = _slice(whole, 0, tokens)
        chunk = DenseChunk(dense, caught.queries[:, :, :tokens], self._proxy_LQPD, self._model.tokens_per_frame)
        kvs: dict[Level, KV] = {}
        for level in LEVELS:
            kvs[level] = concatenate([self._compress(chunk, level, last), _slice(whole, tokens, whole.tokens)])
            self.after_pass(level)
        self._keep(kvs, whole)
        self._finished = last
        return kvs

    def _compress(self, chunk: DenseChunk, level: Level, last: bool) -> KV:
        ratio = self.compression.ratio(level, edge=last or self._chunks == 0)
        tokens = chunk.kv.tokens
        keep = kept_tokens(tokens, ratio, self.compression.remainder)
        settings = self._model.settings
        return chunk.kv if keep == tokens else find_compressor(settings.compressor)(chunk, keep, settings.share)

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

    def _run(self, rows_TN: torch.Tensor, memory: list[KV] | None) -> Caught:
        """The language model on ``rows_TN`` behind the prompt and ``memory``; ``None`` is the very beginning."""
        decoder = self._model.decoder
        cache, start = None, 0
        if memory is not None:
            mixed = mix(self.prompt, memory, lambda count, dtype: self._model.rope_tables(0, count, dtype))
            cache, start = to_cache(mixed), mixed.tokens
        positions_BT = torch.arange(start, start + len(rows_TN), device=rows_TN.device)[None]
        with self._model.capture.catch() as caught:
            decoder.base_model(
                inputs_embeds=rows_TN[None].to(decoder.dtype),
                position_ids=positions_BT,
                past_key_values=cache,
                use_cache=cache is not None,
            )
        return caught


def kept_tokens(tokens: int, ratio: int, remainder: str) -> int:
    """How many of a chunk's ``tokens`` are kept at ``ratio``: at least one."""
    return max(1, tokens // ratio) if remainder == "floor" else -(-tokens // ratio)


def _slice(kv: KV, start: int, stop: int) -> KV:
    return KV(kv.keys_LHTD[:, :, start:stop], kv.values_LHTD[:, :, start:stop])
