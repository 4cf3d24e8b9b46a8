"""A second training signal: a few attention heads are told where to look.

An answer's rows must first find which scene the question names and then the memory tokens that show it. Learning both
at once from right and wrong digits alone is a chicken-and-egg problem: finding the name is of no use until names are
matched with scenes, and the other way round. The plateau lasts thousands of steps, while the truth is known here. So
the heads below get the logarithm of their attention mass on the right tokens as a loss. As a by-product the model has
heads that point at the chunk that a question is about.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerFast

from videox2l.models.video_xl.network import VideoXLNetwork
from videox2l.models.video_xl.vst import vst_layout
from videox2l.training.clips import Batch
from videox2l.training.model_config import TOKENS_PER_CHUNK, TOKENS_PER_FRAME
from videox2l.training.parallel_prefill import ChunkPlan, LayerMemory
from videox2l.video.synthetic import KEYS, Question, SyntheticClip

COLOUR_HEAD, SHAPE_HEAD = (1, 0), (1, 1)
"""(layer, query head) that look for the question's colour and shape words: not in the first layer, so that a word can
look at the video first."""

EVIDENCE_HEADS = ((2, 0), (2, 1), (3, 0))
"""Heads that look for the memory tokens of the asked second of the asked scene."""

ORDER_HEADS = ((2, 2), (3, 1))
"""Heads that look for the scene that is the answer to an order question: the next, the first or the last."""

AFTER_SHAPE_HEAD = (2, 3)
"""Head that looks for every scene after one of the asked shape. Without it a scene only ever learned the colour of the
scene before: that alone earns most of what the order heads can earn, and leaves little to gain from the shape."""

PREVIOUS_HEADS = ((1, 1), (1, 3))
"""Heads by which a chunk's VSTs look at the chunk before, so that a scene can know what it comes after. In the second
layer, because in the first all VSTs are still alike; one for each KV head, to have both heads' values to tell it by."""

_ORDER_KINDS = ("after", "first", "last")
_WEIGHT = 0.15  # of each head's loss beside that of the answers


@dataclass(frozen=True)
class Look:
    """One layer's rotated queries [B, Q, J, T, D] and own keys [B, H, J, T, D] of the questions."""

    queries_BQJTD: torch.Tensor
    keys_BHJTD: torch.Tensor


class Pointing:
    """Knows which token ids are names, and turns a batch's truth into losses on attention."""

    def __init__(self, network: VideoXLNetwork, tokenizer: PreTrainedTokenizerFast) -> None:
        self._layers = network.language_model.model.layers
        self._is_name = torch.zeros(2, len(tokenizer), dtype=torch.bool)
        for part in (0, 1):
            for key in KEYS:
                (token,) = tokenizer(f" {key[part]}", add_special_tokens=False)["input_ids"]
                self._is_name[part, token] = True

    def loss(
        self,
        batch: Batch,
        memories: Sequence[LayerMemory],
        looks: Sequence[Look],
        ratios: Sequence[int] | None,
        prompt_tokens: int,
        *,
        order: bool = True,
    ) -> torch.Tensor:
        """The weighted sum over heads; ``ratios`` as in the step's plan, ``None`` for uncompressed memories.

        ``order``: whether the heads for questions of order take part.
        """
        memory_tokens = memories[0].keys_BHMD.shape[2]
        rows_BJT = batch.wanted_BJT
        first_BJT = rows_BJT & (rows_BJT.cumsum(-1) == 1)
        is_key_BJ = torch.tensor(
            [[question.kind in ("code", "exists", "after") for question in q] for q in batch.questions]
        )
        is_code_BJ = torch.tensor([[question.kind == "code" for question in q] for q in batch.questions])
        # Every row of a code or a scene name needs to know which scene was asked about; "Yes" and "No" are one row.
        is_long_BJ = torch.tensor([[question.kind in ("code", "after") for question in q] for q in batch.questions])
        asking_BJT = (first_BJT & is_key_BJ[..., None]) | (rows_BJT & is_long_BJ[..., None])
        before_BJT = rows_BJT.cumsum(-1) == 0
        total = torch.zeros(())
        for part, head in enumerate((COLOUR_HEAD, SHAPE_HEAD)):
            names_BJT = self._is_name[part][batch.ids_BJT] & before_BJT
            own_BJTX = names_BJT[:, :, None, :].expand(-1, -1, rows_BJT.shape[-1], -1)
            total = total + self._mass_loss(head, looks, memories, asking_BJT, None, own_BJTX)
        spans = evidence_spans(batch.questions, ratios, prompt_tokens)
        places_M = torch.arange(memory_tokens)
        target_BJM = (places_M >= spans[..., :1]) & (places_M < spans[..., 1:])
        is_order_BJ = torch.tensor(
            [[order and question.kind in _ORDER_KINDS for question in q] for q in batch.questions]
        )
        for heads, is_theirs_BJ in ((EVIDENCE_HEADS, is_code_BJ), (ORDER_HEADS, is_order_BJ)):
            asking_BJT = rows_BJT & is_theirs_BJ[..., None]
            for head in heads:
                total = total + self._mass_loss(head, looks, memories, asking_BJT, target_BJM, None)
        is_after_BJ = torch.tensor([[order and question.kind == "after" for question in q] for q in batch.questions])
        if is_after_BJ.any():
            shape_BJM = after_shape_places(batch.shown, batch.questions, ratios, prompt_tokens)
            asking_BJT = rows_BJT & is_after_BJ[..., None]
            total = total + self._mass_loss(AFTER_SHAPE_HEAD, looks, memories, asking_BJT, shape_BJM, None)
        return _WEIGHT * total

    def previous_loss(
        self,
        memories: Sequence[LayerMemory],
        looks: Sequence[tuple[torch.Tensor, torch.Tensor]],
        plan: ChunkPlan,
        prompt_tokens: int,
    ) -> torch.Tensor:
        """The weighted loss of VSTs not looking at the previous chunk; ``looks`` as :func:`prefill` collects them."""
        if len(plan.ratios) < 2:
            return torch.zeros(())
        losses = [self._previous_loss(head, memories, looks, plan, prompt_tokens) for head in PREVIOUS_HEADS]
        return _WEIGHT * torch.stack(losses).sum()

    def _previous_loss(
        self,
        head: tuple[int, int],
        memories: Sequence[LayerMemory],
        looks: Sequence[tuple[torch.Tensor, torch.Tensor]],
        plan: ChunkPlan,
        prompt_tokens: int,
    ) -> torch.Tensor:
        layer, query_head = head
        chunks = len(plan.ratios)
        queries_BQCRD, keys_BHCRD = looks[layer]
        kv_head = query_head * keys_BHCRD.shape[1] // queries_BQCRD.shape[1]
        queries_BCVD = queries_BQCRD[:, query_head, 1:, plan.raw_tokens :] * self._layers[layer].self_attn.scaling
        memory_scores = torch.einsum("bcvd,bmd->bcvm", queries_BCVD, memories[layer].keys_BHMD[:, kv_head])
        own_scores = torch.einsum("bcvd,bcrd->bcvr", queries_BCVD, keys_BHCRD[:, kv_head, 1:])
        visible_CVX = plan.mask_CRX[1:, plan.raw_tokens :]
        scores = torch.cat([memory_scores, own_scores], dim=-1).masked_fill(~visible_CVX, -torch.inf)
        chunk_of_M = plan.memory_rows_M // plan.vsts
        is_previous_CM = chunk_of_M == torch.arange(chunks - 1)[:, None]
        target = memory_scores[..., prompt_tokens:].masked_fill(~is_previous_CM[:, None], -torch.inf)
        missed_BCV = torch.logsumexp(scores, -1) - torch.logsumexp(target, -1)
        counts_C = torch.bincount(chunk_of_M, minlength=chunks)[1:]
        is_vst_CV = torch.arange(plan.vsts) < counts_C[:, None]  # the others are padding
        return missed_BCV[:, is_vst_CV].mean()

    def _mass_loss(
        self,
        head: tuple[int, int],
        looks: Sequence[Look],
        memories: Sequence[LayerMemory],
        asking_BJT: torch.Tensor,
        target_BJM: torch.Tensor | None,
        target_own_BJTX: torch.Tensor | None,
    ) -> torch.Tensor:
        """Mean of -log(attention mass on the target, in the memory or in the question) over the asking rows."""
        layer, query_head = head
        look, memory = looks[layer], memories[layer]
        kv_head = query_head * look.keys_BHJTD.shape[1] // look.queries_BQJTD.shape[1]
        scale = self._layers[layer].self_attn.scaling
        clip_X, question_X, row_X = asking_BJT.nonzero(as_tuple=True)
        if len(clip_X) == 0:
            return torch.zeros(())
        queries_XD = look.queries_BQJTD[clip_X, query_head, question_X, row_X] * scale
        # Grouped by clip, so that a clip's memory is not copied for every row.
        memory_scores = torch.cat(
            [queries_XD[clip_X == clip] @ memory.keys_BHMD[clip, kv_head].T for clip in range(asking_BJT.shape[0])]
        )
        own_keys_XTD = look.keys_BHJTD[clip_X, kv_head, question_X]
        own_scores = (own_keys_XTD @ queries_XD[:, :, None])[..., 0]
        future = torch.arange(asking_BJT.shape[-1]) > row_X[:, None]
        own_scores = own_scores.masked_fill(future, -torch.inf)
        everything = torch.logsumexp(torch.cat([memory_scores, own_scores], dim=1), dim=1)
        if target_BJM is not None:
            target = memory_scores.masked_fill(~target_BJM[clip_X, question_X], -torch.inf)
        else:
            assert target_own_BJTX is not None
            target = own_scores.masked_fill(~target_own_BJTX[clip_X, question_X, row_X], -torch.inf)
        return (everything - torch.logsumexp(target, dim=1)).mean()


def after_shape_places(
    shown: Sequence[SyntheticClip],
    questions: Sequence[Sequence[Question]],
    ratios: Sequence[int] | None,
    prompt_tokens: int,
) -> torch.Tensor:
    """Which memory tokens [B, J, M] belong to a scene that follows one of the asked shape; "after" questions only."""
    edges = chunk_edges(len(shown[0].scenes), ratios, prompt_tokens)
    places = torch.zeros(len(questions), len(questions[0]), edges[-1], dtype=torch.bool)
    for clip, of_clip in enumerate(questions):
        scenes = shown[clip].scenes
        for index, question in enumerate(of_clip):
            if question.kind != "after" or question.chunk is None:
                continue
            asked = scenes[question.chunk - 1].shape
            for chunk in range(1, len(scenes)):
                if scenes[chunk - 1].shape == asked:
                    places[clip, index, edges[chunk] : edges[chunk + 1]] = True
    return places


def chunk_edges(chunks: int, ratios: Sequence[int] | None, prompt_tokens: int) -> list[int]:
    """Where each chunk's memory tokens start, and the end of the last."""
    edges = [prompt_tokens]
    for chunk in range(chunks):
        tokens = len(vst_layout(TOKENS_PER_CHUNK, ratios[chunk], "close").vst_rows) if ratios else TOKENS_PER_CHUNK
        edges.append(edges[-1] + tokens)
    return edges


def evidence_spans(
    questions: Sequence[Sequence[Question]], ratios: Sequence[int] | None, prompt_tokens: int
) -> torch.Tensor:
    """First and end memory token [B, J, 2] that hold the answer.

    For a code what summarises the asked second, for an order question all of its scene; empty for other questions.
    """
    starts = chunk_edges(len(ratios or ()), ratios, prompt_tokens)

    def span(question: Question) -> tuple[int, int]:
        if question.chunk is None or question.kind not in ("code", *_ORDER_KINDS):
            return 0, 0
        first_raw, last_raw = 0, TOKENS_PER_CHUNK - 1
        if question.second is not None:
            first_raw = (question.second - 1) * TOKENS_PER_FRAME
            last_raw = first_raw + TOKENS_PER_FRAME - 1
        if ratios is None:
            start = prompt_tokens + question.chunk * TOKENS_PER_CHUNK
            return start + first_raw, start + last_raw + 1
        ratio = ratios[question.chunk]
        return starts[question.chunk] + first_raw // ratio, starts[question.chunk] + last_raw // ratio + 1

    return torch.tensor([[span(question) for question in of_clip] for of_clip in questions])
