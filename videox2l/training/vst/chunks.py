"""Where the rows of a video's chunks stand, for chunks of different length: a video's last one is mostly shorter."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from videox2l.models.video_xl.vst import vst_layout
from videox2l.training.parallel_prefill import ChunkPlan


def plan_uneven_chunks(raw_tokens: Sequence[int], ratios: Sequence[int], prompt_tokens: int) -> ChunkPlan:
    """The plan of chunks of ``raw_tokens[c]`` each, compressed by ``ratios[c]``; equal to ``plan_chunks`` where it is.

    Rows are padded to the longest chunk and its most VSTs. Padding reads what any row may and is read by none, so the
    visual tokens that stand there (zeros will do) change nothing.
    """
    layouts = [vst_layout(raw, ratio, "close") for raw, ratio in zip(raw_tokens, ratios, strict=True)]
    counts = [len(layout.vst_rows) for layout in layouts]
    raw_width, width = max(raw_tokens), max(counts)
    positions_CR = torch.zeros(len(ratios), raw_width + width, dtype=torch.long)
    is_row_CR = torch.zeros(positions_CR.shape, dtype=torch.bool)
    memory_positions, memory_rows, memory_chunks, start = [], [], [], prompt_tokens
    for chunk, (layout, raw, count) in enumerate(zip(layouts, raw_tokens, counts, strict=True)):
        positions_CR[chunk] = start + layout.length  # padding stands behind everything
        positions_CR[chunk, :raw] = start + layout.raw_rows
        positions_CR[chunk, raw_width : raw_width + count] = start + layout.vst_rows
        is_row_CR[chunk, :raw] = is_row_CR[chunk, raw_width : raw_width + count] = True
        memory_positions.append(torch.arange(start, start + count))
        memory_rows.append(chunk * width + torch.arange(count))
        memory_chunks.append(torch.full((count,), chunk))
        start += count
    earlier_CM = torch.cat(memory_chunks) < torch.arange(len(ratios))[:, None]
    own_CRR = (positions_CR[:, None, :] <= positions_CR[:, :, None]) & is_row_CR[:, None, :]
    rows = positions_CR.shape[1]
    mask_CRX = torch.cat(
        [
            torch.ones(len(ratios), rows, prompt_tokens, dtype=torch.bool),
            earlier_CM[:, None].expand(-1, rows, -1),
            own_CRR,
        ],
        dim=2,
    )
    return ChunkPlan(
        tuple(ratios),
        raw_width,
        width,
        positions_CR,
        torch.cat(memory_positions),
        torch.cat(memory_rows),
        mask_CRX,
        start,
    )
