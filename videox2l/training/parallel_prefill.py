"""All chunks of a batch of clips in one forward pass, equal to the chunk loop of ``models/video_xl/prefill.py``.

The loop is a recurrence over chunks only in its bookkeeping: layer by layer, what a chunk reads of earlier ones is
their VSTs' keys and values *of the same layer*. So a layer can be computed for every chunk at once, and training sees
one large batch instead of many small steps. A VST's key is rotated twice: to its place in the memory, for later chunks
and questions, and to its place inside its own chunk, for the rows that follow it there.

Rows of a chunk are kept as [raw tokens, VSTs] rather than interleaved, so that each kind goes through its projections
without gathering; the mask and the positions put them in order.

Shape legend: B clips, C chunks, W raw tokens of a chunk, V VSTs of a chunk (padded), R = W + V rows, M memory tokens,
P prompt tokens, J questions, T question tokens, H KV heads, G query heads per KV head, D head dimension, N hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers.models.qwen2.modeling_qwen2 import Qwen2DecoderLayer

from videox2l.kv.rope import RopeTables, rotate
from videox2l.models.video_xl.network import VideoXLNetwork
from videox2l.models.video_xl.vst import VSTProjection, vst_layout


@dataclass(frozen=True)
class ChunkPlan:
    """Where every row of a step's chunks stands. Depends on the ratios alone and is shared by all layers and clips.

    ``positions_CR``: RoPE positions of the rows inside their chunk; ``memory_positions_M``: of the VSTs in the memory;
    ``memory_rows_M``: index of each memory token in the flattened [C * V] VSTs; ``mask_CRX``: what a row may read of
    [prompt, memory, own rows]; ``end``: the position where a question begins.
    """

    ratios: tuple[int, ...]
    raw_tokens: int
    vsts: int
    positions_CR: torch.Tensor
    memory_positions_M: torch.Tensor
    memory_rows_M: torch.Tensor
    mask_CRX: torch.Tensor
    end: int


def plan_chunks(
    ratios: Sequence[int], raw_tokens: int, prompt_tokens: int, gaps: Sequence[int] | None = None
) -> ChunkPlan:
    """Plan chunks of ``raw_tokens`` each, compressed by ``ratios``.

    ``gaps[c]`` positions are left out in front of chunk ``c``'s place in the memory. The model as deployed has none;
    in training they show it distances longer than its clips.
    """
    layouts = [vst_layout(raw_tokens, ratio, "close") for ratio in ratios]
    counts = [len(layout.vst_rows) for layout in layouts]
    chunks, width = len(ratios), max(counts)
    rows = raw_tokens + width
    ends, start = [], prompt_tokens
    positions_CR = torch.zeros(chunks, rows, dtype=torch.long)
    memory_positions: list[torch.Tensor] = []
    memory_rows: list[torch.Tensor] = []
    memory_chunk: list[torch.Tensor] = []
    for chunk, (layout, count) in enumerate(zip(layouts, counts, strict=True)):
        start += gaps[chunk] if gaps is not None else 0
        positions_CR[chunk, :raw_tokens] = start + layout.raw_rows
        positions_CR[chunk, raw_tokens : raw_tokens + count] = start + layout.vst_rows
        positions_CR[chunk, raw_tokens + count :] = start + layout.length  # padding: behind everything
        memory_positions.append(torch.arange(start, start + count))
        memory_rows.append(chunk * width + torch.arange(count))
        memory_chunk.append(torch.full((count,), chunk))
        start += count
        ends.append(start)
    earlier_CM = torch.cat(memory_chunk) < torch.arange(chunks)[:, None]
    own_CRR = positions_CR[:, None, :] <= positions_CR[:, :, None]
    is_padding_CR = torch.arange(rows) >= raw_tokens + torch.tensor(counts)[:, None]
    own_CRR &= ~is_padding_CR[:, None, :]
    mask_CRX = torch.cat(
        [
            torch.ones(chunks, rows, prompt_tokens, dtype=torch.bool),
            earlier_CM[:, None].expand(-1, rows, -1),
            own_CRR,
        ],
        dim=2,
    )
    positions_M, rows_M = torch.cat(memory_positions), torch.cat(memory_rows)
    return ChunkPlan(tuple(ratios), raw_tokens, width, positions_CR, positions_M, rows_M, mask_CRX, start)


@dataclass(frozen=True)
class LayerMemory:
    """One layer's memory in front of a question: keys rotated, [B, H, P + M, D], and values."""

    keys_BHMD: torch.Tensor
    values_BHMD: torch.Tensor


def prefill(
    network: VideoXLNetwork,
    prompt_ids_P: torch.Tensor,
    visual_BCWN: torch.Tensor,
    plan: ChunkPlan,
    *,
    looks_out: list[tuple[torch.Tensor, torch.Tensor]] | None = None,
) -> list[LayerMemory]:
    """The memory that ``VideoXLPrefill`` would leave after these chunks, for every layer, with gradients.

    ``looks_out`` collects of all layers but the last the rotated queries [B, Q, C, R, D] and own keys [B, H, C, R, D].
    """
    model = network.language_model.model
    batch, chunks, raw, hidden = visual_BCWN.shape
    prompt_PN = model.embed_tokens(prompt_ids_P)
    prompt_tables = tables(network, torch.arange(len(prompt_ids_P)))
    row_tables = tables(network, plan.positions_CR)
    memory_tables = tables(network, plan.memory_positions_M)
    raw_BCWN = visual_BCWN
    vst_BCVN = network.vst.embedding.weight[0].expand(batch, chunks, plan.vsts, hidden)
    memories = []
    for index, layer in enumerate(model.layers):
        attention, vst_layer = layer.self_attn, cast("VSTProjection", network.vst.layers[index])
        last = index == len(model.layers) - 1
        prompt_keys, prompt_values, prompt_PN = _prompt_layer(layer, prompt_PN, prompt_tables)
        vst_normed = layer.input_layernorm(vst_BCVN)
        vst_keys_BCVHD = _heads(vst_layer.k_proj(vst_normed), attention.head_dim)
        vst_values_BCVHD = _heads(vst_layer.v_proj(vst_normed), attention.head_dim)
        keys_BHMD = vst_keys_BCVHD.flatten(1, 2)[:, plan.memory_rows_M].transpose(1, 2)
        values_BHMD = vst_values_BCVHD.flatten(1, 2)[:, plan.memory_rows_M].transpose(1, 2)
        memory = LayerMemory(
            torch.cat([prompt_keys.expand(batch, -1, -1, -1), rotate(keys_BHMD, memory_tables)], dim=2),
            torch.cat([prompt_values.expand(batch, -1, -1, -1), values_BHMD], dim=2),
        )
        memories.append(memory)
        if last:  # nothing reads what the last layer's attention over the chunks would produce
            break
        raw_normed = layer.input_layernorm(raw_BCWN)
        queries = torch.cat([attention.q_proj(raw_normed), vst_layer.q_proj(vst_normed)], dim=2)
        raw_keys_BCWHD = _heads(attention.k_proj(raw_normed), attention.head_dim)
        raw_values_BCWHD = _heads(attention.v_proj(raw_normed), attention.head_dim)
        queries_BQCRD = _heads(queries, attention.head_dim).permute(0, 3, 1, 2, 4)
        own_keys_BHCRD = torch.cat([raw_keys_BCWHD, vst_keys_BCVHD], dim=2).permute(0, 3, 1, 2, 4)
        own_values_BHCRD = torch.cat([raw_values_BCWHD, vst_values_BCVHD], dim=2).permute(0, 3, 1, 2, 4)
        queries_BQCRD, own_keys_BHCRD = rotate(queries_BQCRD, row_tables), rotate(own_keys_BHCRD, row_tables)
        if looks_out is not None:
            looks_out.append((queries_BQCRD, own_keys_BHCRD))
        out_BQCRD = _attend_behind(
            queries_BQCRD,
            memory,
            own_keys_BHCRD,
            own_values_BHCRD,
            plan.mask_CRX,
            attention.scaling,
        )
        out_BCRN = attention.o_proj(out_BQCRD.permute(0, 2, 3, 1, 4).flatten(3))
        rows_BCRN = torch.cat([raw_BCWN, vst_BCVN], dim=2) + out_BCRN
        rows_BCRN = rows_BCRN + layer.mlp(layer.post_attention_layernorm(rows_BCRN))
        raw_BCWN, vst_BCVN = rows_BCRN[:, :, :raw], rows_BCRN[:, :, raw:]
    return memories


def full_attention_memory(
    network: VideoXLNetwork, prompt_ids_P: torch.Tensor, visual_BCWN: torch.Tensor
) -> tuple[list[LayerMemory], int]:
    """The memory of the uncompressed model: prompt and all visual tokens, plain causal. Also the questions' start."""
    model = network.language_model.model
    batch = len(visual_BCWN)
    prompt_BPN = model.embed_tokens(prompt_ids_P).expand(batch, -1, -1)
    rows_BTN = torch.cat([prompt_BPN, visual_BCWN.flatten(1, 2)], dim=1)
    length = rows_BTN.shape[1]
    cos_sin = tables(network, torch.arange(length))
    memories = []
    for layer in model.layers:
        attention = layer.self_attn
        normed = layer.input_layernorm(rows_BTN)
        queries, keys, values = (
            _heads(project(normed), attention.head_dim).transpose(1, 2)
            for project in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        keys = rotate(keys, cos_sin)
        memories.append(LayerMemory(keys, values))
        out = scaled_dot_product_attention(
            rotate(queries, cos_sin), keys, values, is_causal=True, scale=attention.scaling, enable_gqa=True
        )
        rows_BTN = rows_BTN + attention.o_proj(out.transpose(1, 2).flatten(2))
        rows_BTN = rows_BTN + layer.mlp(layer.post_attention_layernorm(rows_BTN))
    return memories, length


def answer_logits(
    network: VideoXLNetwork,
    memories: Sequence[LayerMemory],
    start: int,
    ids_BJT: torch.Tensor,
    wanted_BJT: torch.Tensor,
    *,
    queries_out: list[torch.Tensor] | None = None,
    keys_out: list[torch.Tensor] | None = None,
) -> torch.Tensor:
    """Logits [wanted, vocabulary] of questions (with their answers) that see the memory and themselves only.

    ``wanted_BJT`` marks the rows whose next token is asked for. ``queries_out`` and ``keys_out`` collect
    each layer's rotated queries [B, Q, J, T, D] and own keys [B, H, J, T, D], to look at what the questions attend to.
    """
    model = network.language_model.model
    _, questions, length = ids_BJT.shape
    rows_BJTN = model.embed_tokens(ids_BJT)
    cos_sin = tables(network, torch.arange(start, start + length).expand(questions, length))
    memory_tokens = memories[0].keys_BHMD.shape[2]
    mask_TX = torch.ones(length, memory_tokens + length, dtype=torch.bool).tril(memory_tokens)
    mask_JTX = mask_TX.expand(questions, -1, -1)
    rows_XN = rows_BJTN[wanted_BJT]
    for index, (layer, memory) in enumerate(zip(model.layers, memories, strict=True)):
        attention = layer.self_attn
        normed = layer.input_layernorm(rows_BJTN)
        queries, keys, values = (
            _heads(project(normed), attention.head_dim).permute(0, 3, 1, 2, 4)
            for project in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        queries = rotate(queries, cos_sin)
        keys = rotate(keys, cos_sin)
        if queries_out is not None:
            queries_out.append(queries)
        if keys_out is not None:
            keys_out.append(keys)
        out = _attend_behind(queries, memory, keys, values, mask_JTX, attention.scaling)
        out_BJTN = out.permute(0, 2, 3, 1, 4).flatten(3)
        if index == len(memories) - 1:  # only the wanted rows are read from here on
            rows_XN = rows_BJTN[wanted_BJT] + attention.o_proj(out_BJTN[wanted_BJT])
            rows_XN = rows_XN + layer.mlp(layer.post_attention_layernorm(rows_XN))
        else:
            rows_BJTN = rows_BJTN + attention.o_proj(out_BJTN)
            rows_BJTN = rows_BJTN + layer.mlp(layer.post_attention_layernorm(rows_BJTN))
    logits: torch.Tensor = network.language_model.lm_head(model.norm(rows_XN))
    return logits


def tables(network: VideoXLNetwork, positions: torch.Tensor) -> RopeTables:
    """Rotation tables [..., T, D] of any positions [..., T]."""
    model = network.language_model.model
    cos, sin = model.rotary_emb(model.embed_tokens.weight, positions.flatten()[None])
    return cos[0].unflatten(0, positions.shape), sin[0].unflatten(0, positions.shape)


def _heads(projected: torch.Tensor, head_dim: int) -> torch.Tensor:
    return projected.unflatten(-1, (-1, head_dim))


def _prompt_layer(
    layer: Qwen2DecoderLayer, rows_PN: torch.Tensor, cos_sin: RopeTables
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One layer over the prompt: its rotated keys and values [1, H, P, D], and its output rows."""
    attention = layer.self_attn
    normed = layer.input_layernorm(rows_PN[None])
    queries, keys, values = (
        _heads(project(normed), attention.head_dim).transpose(1, 2)
        for project in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    keys = rotate(keys, cos_sin)
    out = scaled_dot_product_attention(
        rotate(queries, cos_sin), keys, values, is_causal=True, scale=attention.scaling, enable_gqa=True
    )
    rows_PN = rows_PN + attention.o_proj(out.transpose(1, 2).flatten(2))[0]
    rows_PN = rows_PN + layer.mlp(layer.post_attention_layernorm(rows_PN))
    return keys, values, rows_PN


def _attend_behind(
    queries_BQCRD: torch.Tensor,
    memory: LayerMemory,
    own_keys_BHCRD: torch.Tensor,
    own_values_BHCRD: torch.Tensor,
    mask_CRX: torch.Tensor,
    scale: float,
) -> torch.Tensor:
    """Every group C of R rows attends to the clip's memory and to itself, as ``mask_CRX`` allows; [B, Q, C, R, D].

    Groups become SDPA's batch and (clip, KV head) its heads, so that one mask serves all clips without being copied; a
    KV head's query heads are laid one after another along the rows, which saves repeating keys and values for them.
    """
    batch, kv_heads, groups, rows, dim = own_keys_BHCRD.shape
    share = queries_BQCRD.shape[1] // kv_heads
    queries = queries_BQCRD.unflatten(1, (kv_heads, share)).permute(3, 0, 1, 2, 4, 5)  # C B H G R D
    queries = queries.reshape(groups, batch * kv_heads, share * rows, dim)

    def with_memory(memory_BHMD: torch.Tensor, own_BHCRD: torch.Tensor) -> torch.Tensor:
        shared = memory_BHMD.flatten(0, 1).expand(groups, -1, -1, -1)
        own = own_BHCRD.permute(2, 0, 1, 3, 4).flatten(1, 2)
        return torch.cat([shared, own], dim=2)

    out = scaled_dot_product_attention(
        queries,
        with_memory(memory.keys_BHMD, own_keys_BHCRD),
        with_memory(memory.values_BHMD, own_values_BHCRD),
        attn_mask=mask_CRX.repeat(1, share, 1)[:, None],
        scale=scale,
    )
    return out.unflatten(2, (share, rows)).unflatten(1, (batch, kv_heads)).permute(1, 2, 3, 0, 4, 5).flatten(1, 2)
