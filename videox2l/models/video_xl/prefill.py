"""Bi-level prefill: two passes over the language model that share their visual tokens, chunk by chunk.

Each pass keeps a memory: the prompt's KVs and, of every chunk so far, only its VSTs' (arXiv 2506.21184). Positions are
contiguous over [memory, window], so a memory token's position is fixed the moment it is appended: its key is rotated
once. What is exported are the keys before rotation.

All state lives in :class:`VideoXLPrefill`, none in the model: many videos can be in flight on one model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from transformers import Qwen2ForCausalLM

from videox2l.config import CompressionConfig
from videox2l.errors import ModelError
from videox2l.kv import KV, LEVELS, ChunkKV, Level
from videox2l.models.protocol import PrefillState
from videox2l.models.video_xl.forward import Memory, Window, forward, rope_tables
from videox2l.models.video_xl.vst import VSTLayout, VSTs, plan_pass, vst_layout


class VideoXLPrefill:
    """The running prefill of one video. Feed its chunks in order; each call returns both levels of that chunk."""

    def __init__(
        self,
        language_model: Qwen2ForCausalLM,
        vsts: VSTs,
        prompt_ids_T: torch.Tensor,
        compression: CompressionConfig,
        resume: PrefillState | None = None,
    ) -> None:
        """Run the prompt (``[T]`` token ids in front of the video), whose KVs are kept uncompressed by both passes.

        With ``resume`` nothing is run: both memories are restored from it.
        """
        self._model = language_model.model
        self._vsts = vsts
        self.compression = compression
        config = language_model.config
        weight = self._model.embed_tokens.weight
        head_dim = self._model.layers[0].self_attn.head_dim
        self._memory = {level: Memory(config.num_hidden_layers, vsts.kv_heads, head_dim, weight) for level in LEVELS}
        self._chunks = 0
        self._finished = False
        self.after_pass: Callable[[Level], None] = _nothing
        """Called behind each pass over a chunk: for whoever measures. A GPU may still be computing then."""
        with torch.inference_mode():
            self.prompt: KV = (
                self._run_prompt(prompt_ids_T.to(weight.device)) if resume is None else self._restore(resume)
            )

    def at(self, times_s: Sequence[float]) -> None:
        """This model is not told the time."""

    def memory_tokens(self, level: Level) -> int:
        """Tokens that this level's pass has kept so far, the prompt included: the next chunk's first position."""
        return self._memory[level].tokens

    def expect(self, chunks: int, raw_tokens: int) -> None:
        """Make room for a video of ``chunks`` in all, none longer than ``raw_tokens``: to the token, and only once.

        Optional; a memory that has to grow instead doubles its room, and needs both rooms while it is copied.
        """
        for level in LEVELS:
            plan = plan_pass(
                level, self.compression, chunks=chunks, raw_tokens=raw_tokens, prompt_tokens=self.prompt.tokens
            )
            self._memory[level].resize(max(plan.capacity, self._memory[level].tokens))

    @torch.inference_mode()
    def append(self, visual_tokens_TN: torch.Tensor, *, last: bool) -> ChunkKV:
        """Compress the next chunk's ``[T, hidden]`` visual tokens at both levels; ``last`` marks the video's end.

        Returns the VSTs' keys (before RoPE) and values per level. Raises :class:`ModelError` after the last chunk.
        """
        return append_together([self], [visual_tokens_TN], [last])[0]

    def _run_prompt(self, prompt_ids_T: torch.Tensor) -> KV:
        rows = torch.arange(len(prompt_ids_T), device=prompt_ids_T.device)
        everything = VSTLayout(raw_rows=rows[:0], vst_rows=rows)
        window = Window(self._memory["low"], self._model.embed_tokens(prompt_ids_T), everything)
        kept = forward(self._model, None, [window])[0]
        for level in LEVELS:
            self._keep(level, kept)
        return kept

    def _restore(self, state: PrefillState) -> KV:
        # Piece by piece, as they were kept the first time: equal calls give equal bits.
        for level in LEVELS:
            self._keep(level, state.prompt)
        for kvs in state.chunks:
            for level in LEVELS:
                self._keep(level, kvs[level])
            self._chunks += 1
        return state.prompt

    def _layouts(self, raw_tokens: int, last: bool) -> dict[Level, VSTLayout]:
        edge = last or self._chunks == 0
        remainder, device = self.compression.remainder, self._model.embed_tokens.weight.device
        return {
            level: vst_layout(raw_tokens, self.compression.ratio(level, edge=edge), remainder, device)
            for level in LEVELS
        }

    def _window(self, level: Level, visual_tokens_TN: torch.Tensor, layout: VSTLayout) -> Window:
        # Called, not read: a sharded or offloaded module has its weights at hand only while it runs.
        embedding_N = self._vsts.embedding(layout.vst_rows.new_zeros(()))
        rows_TN = embedding_N.new_empty(layout.length, len(embedding_N))
        rows_TN[layout.raw_rows] = visual_tokens_TN.to(rows_TN)
        rows_TN[layout.vst_rows] = embedding_N
        return Window(self._memory[level], rows_TN, layout)

    def _keep(self, level: Level, kv: KV) -> None:
        memory = self._memory[level]
        memory.append(kv.to(device=memory.keys_LHTD.device), rope_tables(self._model, memory.tokens, kv.tokens))


@torch.inference_mode()
def append_together(
    prefills: Sequence[VideoXLPrefill], visual_tokens: Sequence[torch.Tensor], last: Sequence[bool]
) -> list[ChunkKV]:
    """Advance several videos on one model by a chunk each, in shared forwards: a gain where chunks are small.

    As :meth:`VideoXLPrefill.append` for each of ``prefills`` with its ``[T, hidden]`` of ``visual_tokens`` and its
    ``last``. Chunks may be of different lengths, at different places in their videos, and of other compressions.
    Results differ from those of ``append`` by rounding, as matrix products over more rows may be summed otherwise.

    :raises ModelError: one of them has had its last chunk. Nothing has happened to the others then.
    """
    first = prefills[0]
    if len({id(prefill) for prefill in prefills}) != len(prefills):
        raise ValueError("each video can be advanced by one chunk at a time")
    if any(prefill._model is not first._model or prefill._vsts is not first._vsts for prefill in prefills):
        raise ValueError("videos can be prefilled together on one model only")
    if any(prefill._finished for prefill in prefills):
        raise ModelError("this prefill has had its last chunk: start another one for another video")
    layouts = [
        prefill._layouts(len(tokens_TN), is_last)
        for prefill, tokens_TN, is_last in zip(prefills, visual_tokens, last, strict=True)
    ]
    kept: list[dict[Level, KV]] = [{} for _ in prefills]
    for level in LEVELS:
        running = []
        for number, prefill in enumerate(prefills):
            # Before the first chunk both memories are the prompt: equal layouts then give equal KVs, so run it once.
            if level == "high" and prefill._chunks == 0 and layouts[number]["low"] is layouts[number]["high"]:
                kept[number]["high"] = kept[number]["low"]
            else:
                running.append(number)
        windows = [prefills[n]._window(level, visual_tokens[n], layouts[n][level]) for n in running]
        if windows:
            kept_now = forward(first._model, first._vsts, windows)
            for number, kv in zip(running, kept_now, strict=True):
                kept[number][level] = kv
        for prefill, kvs in zip(prefills, kept, strict=True):
            prefill._keep(level, kvs[level])
            prefill.after_pass(level)
    for prefill, is_last in zip(prefills, last, strict=True):
        prefill._chunks += 1
        prefill._finished = is_last
    return list(kept)


def _nothing(level: Level) -> None:
    del level
