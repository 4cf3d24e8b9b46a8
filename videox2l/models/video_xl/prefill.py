"""Bi-level prefill: two passes over the language model that share their visual tokens, chunk by chunk.

Each pass keeps a memory: the prompt's KVs and, of every chunk so far, only its VSTs' (arXiv 2506.21184). Positions are
contiguous over [memory, window], so a memory token's position is fixed the moment it is appended: its key is rotated
once. What is exported are the keys before rotation.

All state lives in :class:`VideoXLPrefill`, none in the model: many videos can be in flight on one model.
"""

from __future__ import annotations

import torch
from transformers import Qwen2ForCausalLM
from transformers.models.qwen2.modeling_qwen2 import Qwen2Attention

from videox2l.config import CompressionConfig
from videox2l.errors import ModelError
from videox2l.kv import KV, LEVELS, ChunkKV, Level
from videox2l.kv.rope import RopeTables, rotate
from videox2l.models.protocol import PrefillState
from videox2l.models.video_xl.attention import attend, window_mask
from videox2l.models.video_xl.vst import VSTLayout, VSTProjection, VSTs, vst_layout


class Memory:
    """The rotated keys and the values that one pass attends to, in buffers ``[L, H, capacity, D]`` that double.

    A window's own keys and values are written behind the memory while it runs, so attention reads one view and no
    layer concatenates; afterwards the kept tokens overwrite them.
    """

    def __init__(self, layers: int, heads: int, head_dim: int, like: torch.Tensor) -> None:
        self.tokens = 0
        self.keys_LHTD = like.new_empty(layers, heads, 0, head_dim)
        self.values_LHTD = like.new_empty(layers, heads, 0, head_dim)

    def reserve(self, extra: int) -> None:
        """Make room for ``extra`` more tokens; amortised, so a long video copies its memory a few times only."""
        capacity = self.keys_LHTD.shape[2]
        if self.tokens + extra <= capacity:
            return
        grown = max(self.tokens + extra, 2 * capacity)
        for name in ("keys_LHTD", "values_LHTD"):
            old = getattr(self, name)
            new = old.new_empty(*old.shape[:2], grown, old.shape[3])
            new[:, :, : self.tokens] = old[:, :, : self.tokens]
            setattr(self, name, new)

    def append(self, kv: KV, tables: RopeTables) -> None:
        """Keep ``kv``, rotated by ``tables`` of its positions ``tokens … tokens + kv.tokens - 1``."""
        self.reserve(kv.tokens)
        span = slice(self.tokens, self.tokens + kv.tokens)
        self.keys_LHTD[:, :, span] = rotate(kv.keys_LHTD, tables)
        self.values_LHTD[:, :, span] = kv.values_LHTD
        self.tokens = span.stop


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
        heads, head_dim = config.num_key_value_heads, self._model.layers[0].self_attn.head_dim
        self._memory = {level: Memory(config.num_hidden_layers, heads, head_dim, weight) for level in LEVELS}
        self._chunks = 0
        self._finished = False
        with torch.inference_mode():
            self.prompt: KV = (
                self._run_prompt(prompt_ids_T.to(weight.device)) if resume is None else self._restore(resume)
            )

    def memory_tokens(self, level: Level) -> int:
        """Tokens that this level's pass has kept so far, the prompt included: the next chunk's first position."""
        return self._memory[level].tokens

    @torch.inference_mode()
    def append(self, visual_tokens_TN: torch.Tensor, *, last: bool) -> ChunkKV:
        """Compress the next chunk's ``[T, hidden]`` visual tokens at both levels; ``last`` marks the video's end.

        Returns the VSTs' keys (before RoPE) and values per level. Raises :class:`ModelError` after the last chunk.
        """
        if self._finished:
            raise ModelError("this prefill has had its last chunk: start another one for another video")
        edge = last or self._chunks == 0
        layouts = {
            level: vst_layout(
                len(visual_tokens_TN), self.compression.ratio(level, edge=edge), self.compression.remainder
            )
            for level in LEVELS
        }
        low = self._run_chunk("low", visual_tokens_TN, layouts["low"])
        # Before the first chunk both memories are the prompt: equal layouts then give equal KVs, so run it once.
        same = self._chunks == 0 and torch.equal(layouts["low"].vst_rows, layouts["high"].vst_rows)
        high = low if same else self._run_chunk("high", visual_tokens_TN, layouts["high"])
        if same:
            self._keep("high", high)
        self._chunks += 1
        self._finished = last
        return {"low": low, "high": high}

    def _run_prompt(self, prompt_ids_T: torch.Tensor) -> KV:
        everything = VSTLayout(raw_rows=torch.arange(0), vst_rows=torch.arange(len(prompt_ids_T)))
        kept = self._forward("low", self._model.embed_tokens(prompt_ids_T), everything, vst_projections=False)
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

    def _run_chunk(self, level: Level, visual_tokens_TN: torch.Tensor, layout: VSTLayout) -> KV:
        device = self._model.embed_tokens.weight.device
        layout = VSTLayout(layout.raw_rows.to(device), layout.vst_rows.to(device))
        embedding_N = self._vsts.embedding.weight[0]
        window_TN = embedding_N.new_empty(layout.length, len(embedding_N))
        window_TN[layout.raw_rows] = visual_tokens_TN.to(window_TN)
        window_TN[layout.vst_rows] = embedding_N
        kept = self._forward(level, window_TN, layout, vst_projections=True)
        self._keep(level, kept)
        return kept

    def _keep(self, level: Level, kv: KV) -> None:
        memory = self._memory[level]
        memory.append(kv.to(device=memory.keys_LHTD.device), self._tables(memory.tokens, kv.tokens))

    def _forward(self, level: Level, window_TN: torch.Tensor, layout: VSTLayout, *, vst_projections: bool) -> KV:
        """Run every layer on one window behind the level's memory; return the KVs of its VST rows.

        The last layer only needs to project: nothing reads what its attention would produce, as no logits are wanted.
        """
        memory, length = self._memory[level], len(window_TN)
        memory.reserve(length)
        tables = self._tables(memory.tokens, length)
        window_span = slice(memory.tokens, memory.tokens + length)
        mask = window_mask(length, memory.tokens, window_TN.device)
        hidden_BTN = window_TN[None]
        keys, values = [], []
        for index, layer in enumerate(self._model.layers):
            normed_BTN = layer.input_layernorm(hidden_BTN)
            vst_layer = self._vsts.layer(index) if vst_projections else None
            queries_BQTD, keys_BHTD, values_BHTD = project(layer.self_attn, vst_layer, normed_BTN, layout)
            keys.append(keys_BHTD[0, :, layout.vst_rows])
            values.append(values_BHTD[0, :, layout.vst_rows])
            if index == len(self._model.layers) - 1:
                break
            memory.keys_LHTD[index, :, window_span] = rotate(keys_BHTD[0], tables)
            memory.values_LHTD[index, :, window_span] = values_BHTD[0]
            visible = slice(0, window_span.stop)
            attended_BTN = attend(
                rotate(queries_BQTD, tables),
                memory.keys_LHTD[index, None, :, visible],
                memory.values_LHTD[index, None, :, visible],
                mask,
                layer.self_attn.scaling,
            )
            hidden_BTN = hidden_BTN + layer.self_attn.o_proj(attended_BTN)
            hidden_BTN = hidden_BTN + layer.mlp(layer.post_attention_layernorm(hidden_BTN))
        return KV(torch.stack(keys), torch.stack(values))

    def _tables(self, start: int, count: int) -> RopeTables:
        weight = self._model.embed_tokens.weight
        positions_BT = torch.arange(start, start + count, device=weight.device)[None]
        cos_BTD, sin_BTD = self._model.rotary_emb(weight, positions_BT)
        return cos_BTD[0], sin_BTD[0]


def project(
    attention: Qwen2Attention, vst_layer: VSTProjection | None, normed_BTN: torch.Tensor, layout: VSTLayout
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries ``[B, Q, T, D]``, keys and values ``[B, H, T, D]``: raw rows through Qwen2's projections, VST rows
    through ``vst_layer``'s (all rows through Qwen2's when it is ``None``)."""
    out = []
    for name in ("q_proj", "k_proj", "v_proj"):
        plain = getattr(attention, name)
        if vst_layer is None:
            projected_BTX = plain(normed_BTN)
        else:
            projected_BTX = normed_BTN.new_empty(*normed_BTN.shape[:2], plain.out_features)
            projected_BTX[:, layout.raw_rows] = plain(normed_BTN[:, layout.raw_rows])
            projected_BTX[:, layout.vst_rows] = getattr(vst_layer, name)(normed_BTN[:, layout.vst_rows])
        out.append(projected_BTX.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2))
    return out[0], out[1], out[2]
