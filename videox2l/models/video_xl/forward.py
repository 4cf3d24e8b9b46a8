"""One forward of the language model over windows of one or several videos, each behind a memory of its own.

Whatever works row by row (norms, projections, MLP) runs once over the rows of all windows; attention runs window by
window. A forward of one window is therefore exactly the plain one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from transformers.models.qwen2.modeling_qwen2 import Qwen2Attention, Qwen2Model

from videox2l.kv import KV
from videox2l.kv.rope import RopeTables, rotate
from videox2l.models.video_xl.attention import attend, attend_masked, rows_mask, window_mask
from videox2l.models.video_xl.vst import VSTLayout, VSTProjection, VSTs


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
        if self.tokens + extra > capacity:
            self.resize(max(self.tokens + extra, 2 * capacity))

    def resize(self, capacity: int) -> None:
        """Set the room to exactly ``capacity`` tokens, at least those that are kept."""
        for name in ("keys_LHTD", "values_LHTD"):
            old = getattr(self, name)
            new = old.new_empty(*old.shape[:2], capacity, old.shape[3])
            new[:, :, : self.tokens] = old[:, :, : self.tokens]
            setattr(self, name, new)

    def append(self, kv: KV, tables: RopeTables) -> None:
        """Keep ``kv``, rotated by ``tables`` of its positions ``tokens … tokens + kv.tokens - 1``."""
        self.reserve(kv.tokens)
        span = slice(self.tokens, self.tokens + kv.tokens)
        self.keys_LHTD[:, :, span] = rotate(kv.keys_LHTD, tables)
        self.values_LHTD[:, :, span] = kv.values_LHTD
        self.tokens = span.stop


@dataclass(frozen=True)
class Window:
    """Rows ``[T, N]`` behind a memory, on the model's device; ``layout`` says which of them are raw and which VSTs.

    With ``raw_from``, the number of an earlier window over the same raw tokens in the same forward, only the VSTs are
    rows here: of that window they read the raw tokens' keys and values, turned to their places in this ``layout``.
    """

    memory: Memory
    rows_TN: torch.Tensor
    layout: VSTLayout
    raw_from: int | None = None


@torch.inference_mode()
def forward(model: Qwen2Model, vsts: VSTs | None, windows: Sequence[Window]) -> list[KV]:
    """Run every layer on the rows of all ``windows``; return the KVs (keys before RoPE) of each one's VST rows.

    ``vsts`` project the VST rows (Qwen2's own projections do where it is ``None``). The last layer only needs to
    project: nothing reads what its attention would produce, as no logits are wanted.
    """
    starts = accumulate((len(window.rows_TN) for window in windows), initial=0)
    running: list[_Running] = []
    for window, start in zip(windows, starts, strict=False):
        running.append(_Running(model, window, start, None if window.raw_from is None else running[window.raw_from]))
    layout = _join(running)
    hidden_BTN = _cat([window.rows_TN for window in windows], dim=0)[None]
    for index, layer in enumerate(model.layers):
        normed_BTN = layer.input_layernorm(hidden_BTN)
        vst_layer = None if vsts is None else vsts.layer(index)
        queries_BQTD, keys_BHTD, values_BHTD = project(layer.self_attn, vst_layer, normed_BTN, layout)
        for one in running:
            one.keep(keys_BHTD, values_BHTD)
        if index == len(model.layers) - 1:
            break
        attended = [one.attend(index, layer.self_attn, queries_BQTD, keys_BHTD, values_BHTD) for one in running]
        hidden_BTN = hidden_BTN + layer.self_attn.o_proj(_cat(attended, dim=1))
        hidden_BTN = hidden_BTN + layer.mlp(layer.post_attention_layernorm(hidden_BTN))
    return [KV(torch.stack(one.keys), torch.stack(one.values)) for one in running]


class _Running:
    """One window in a forward, whose rows begin at ``start`` of all rows; collects the KVs that are kept of it.

    ``trunk``: the window that its raw tokens are taken from, where they are not among its own rows.
    """

    def __init__(self, model: Qwen2Model, window: Window, start: int, trunk: _Running | None) -> None:
        length, count, self.memory = window.layout.length, len(window.rows_TN), window.memory
        self.memory.reserve(length)
        self.start = start
        self.keys: list[torch.Tensor] = []
        self.values: list[torch.Tensor] = []
        self._rows = slice(start, start + count)
        self._own = slice(self.memory.tokens, self.memory.tokens + length)
        self._tables = self._query_tables = rope_tables(model, self.memory.tokens, length)
        self._read: slice | torch.Tensor = self._rows
        if trunk is None:
            self.layout = window.layout
            self._attend = attend
            self._mask = window_mask(length, self.memory.tokens, window.rows_TN.device)
            return
        raw_rows, vst_rows = window.layout.raw_rows, window.layout.vst_rows
        self.layout = VSTLayout(raw_rows[:0], torch.arange(count, device=vst_rows.device))
        self._attend = attend_masked
        self._mask = rows_mask(vst_rows, length, self.memory.tokens)
        self._query_tables = self._tables[0][vst_rows], self._tables[1][vst_rows]
        self._read = torch.empty(length, dtype=torch.long, device=vst_rows.device)
        self._read[raw_rows] = trunk.start + trunk.layout.raw_rows
        self._read[vst_rows] = start + self.layout.vst_rows

    def keep(self, keys_BHTD: torch.Tensor, values_BHTD: torch.Tensor) -> None:
        """Take this window's VST rows out of a layer's keys (before RoPE) and values."""
        self.keys.append(keys_BHTD[0, :, self._rows][:, self.layout.vst_rows])
        self.values.append(values_BHTD[0, :, self._rows][:, self.layout.vst_rows])

    def attend(
        self,
        layer: int,
        attention: Qwen2Attention,
        queries_BQTD: torch.Tensor,
        keys_BHTD: torch.Tensor,
        values_BHTD: torch.Tensor,
    ) -> torch.Tensor:
        """What this window's rows see, [B, T, Q·D]: all of its memory, and of the window what is before them."""
        memory, visible = self.memory, slice(0, self._own.stop)
        memory.keys_LHTD[layer, :, self._own] = rotate(keys_BHTD[0, :, self._read], self._tables)
        memory.values_LHTD[layer, :, self._own] = values_BHTD[0, :, self._read]
        return self._attend(
            attention,
            rotate(queries_BQTD[:, :, self._rows], self._query_tables),
            memory.keys_LHTD[layer, None, :, visible],
            memory.values_LHTD[layer, None, :, visible],
            self._mask,
        )


def rope_tables(model: Qwen2Model, start: int, count: int) -> RopeTables:
    """Cosines and sines, each [T, D], of ``count`` positions from ``start`` on, in the model's dtype."""
    weight = model.embed_tokens.weight
    positions_BT = torch.arange(start, start + count, device=weight.device)[None]
    cos_BTD, sin_BTD = model.rotary_emb(weight, positions_BT)
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
            # The width is the result's: a module that is sharded over ranks holds a part of its outputs.
            raw_BTX = plain(normed_BTN[:, layout.raw_rows])
            projected_BTX = normed_BTN.new_empty(*normed_BTN.shape[:2], raw_BTX.shape[-1])
            projected_BTX[:, layout.raw_rows] = raw_BTX
            projected_BTX[:, layout.vst_rows] = getattr(vst_layer, name)(normed_BTN[:, layout.vst_rows])
        out.append(projected_BTX.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2))
    return out[0], out[1], out[2]


def _join(running: Sequence[_Running]) -> VSTLayout:
    """Which of all rows are raw tokens, and which VSTs."""
    if len(running) == 1:
        return running[0].layout
    return VSTLayout(
        torch.cat([one.layout.raw_rows + one.start for one in running]),
        torch.cat([one.layout.vst_rows + one.start for one in running]),
    )


def _cat(parts: Sequence[torch.Tensor], dim: int) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim)
