"""Answers over KVs in memory: the path of a question, without an archive."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean

import torch

from pipelines.bench.clips import PrefilledClip
from videox2l.answering.decode import generate
from videox2l.config import GenerationConfig, SelectionConfig
from videox2l.kv import KV, Level, MixedKV, mix, reload
from videox2l.models import KVCompressibleModel
from videox2l.models.cache import to_cache
from videox2l.selection import QuestionContext, select
from videox2l.video.synthetic import Question, normalise

_SELECTION = SelectionConfig()
# The longest answer has six tokens.
_GENERATION = GenerationConfig(max_new_tokens=12)


@dataclass(frozen=True)
class StoredClip:
    """A clip with its KVs as they come out of storage: one a chunk and level, in time order."""

    source: PrefilledClip
    kvs: dict[Level, list[KV]]


@dataclass(frozen=True)
class Outcome:
    """What one question gave.

    ``chosen``: the scorer's chunks over this clip's own gist, with which ``own_answer`` is given. ``logits_V`` (of the
    first answer token) and ``answer`` are with chunks given from outside, so that they compare between clips.
    ``right_chunk_answer``: with the one chunk re-loaded that holds the answer; of codes only.
    """

    question: Question
    chosen: tuple[int, ...]
    logits_V: torch.Tensor
    answer: str
    own_answer: str
    right_chunk_answer: str | None


def outcomes(
    model: KVCompressibleModel, clip: StoredClip, given: Sequence[tuple[int, ...]] | None = None
) -> Iterator[Outcome]:
    """One outcome a question; ``given`` has the chunks to re-load for each, by default the scorer's choice."""
    gist = _memory(model, clip, ())
    for index, question in enumerate(clip.source.questions):
        ids = model.question_ids(question.text)
        chosen = select(_SELECTION, len(clip.source.chunks), QuestionContext(model, ids, gist)).chunks
        compared = given[index] if given is not None else chosen
        memory = _memory(model, clip, compared)
        answer = _answer(model, memory, ids)
        own = answer if chosen == compared else _answer(model, _memory(model, clip, chosen), ids)
        holder = clip.source.right_chunk(question)
        right = _answer(model, _memory(model, clip, (holder,)), ids) if holder is not None else None
        yield Outcome(question, chosen, _first_logits(model, memory, ids), answer, own, right)


def accuracy(measured: Sequence[Outcome]) -> dict[str, float]:
    """Share of right answers by kind of question."""
    right: dict[str, list[bool]] = defaultdict(list)
    for outcome in measured:
        question = outcome.question
        if outcome.right_chunk_answer is not None:
            right[f"{question.kind}, right chunk"].append(_is_right(outcome.right_chunk_answer, question))
        right[question.kind].append(_is_right(outcome.own_answer, question))
    return {kind: fmean(values) for kind, values in right.items()}


@torch.inference_mode()
def _memory(model: KVCompressibleModel, clip: StoredClip, reloaded: Collection[int]) -> MixedKV:
    device = model.decoder.device
    low = {index: clip.kvs["low"][index] for index in reloaded}
    parts = [kv.to(device=device) for kv in reload(clip.kvs["high"], low)]
    return mix(clip.source.prompt, parts, partial(model.rope_tables, 0))


@torch.inference_mode()
def _first_logits(model: KVCompressibleModel, memory: MixedKV, ids: Sequence[int]) -> torch.Tensor:
    ids_BT = torch.tensor([ids], device=model.decoder.device)
    logits_BTV = model.decoder(ids_BT, past_key_values=to_cache(memory), logits_to_keep=1).logits
    return logits_BTV[0, -1].float().cpu()


def _answer(model: KVCompressibleModel, memory: MixedKV, ids: list[int]) -> str:
    picks = generate(model.decoder, ids, to_cache(memory), _GENERATION, model.stop_ids)
    tokens = [pick.token for pick in picks]
    return str(model.tokenizer.decode(tokens, skip_special_tokens=True))


def _is_right(answer: str, question: Question) -> bool:
    return normalise(answer) == normalise(question.answer)
