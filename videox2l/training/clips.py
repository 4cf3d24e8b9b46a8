"""Training steps' data: clips composed from the bank's visual tokens, with questions as padded token rows."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from videox2l.models.video_xl.prompt import answer_ids, question_ids
from videox2l.video.synthetic import KEYS, SECONDS_PER_SCENE, Question, QuestionKind, Scene, SyntheticClip, ask

KindMix = Mapping[QuestionKind, float]
"""How questions other than codes are divided: shares by kind, 1 in all."""

EVEN_MIX: KindMix = {"exists": 0.25, "after": 0.25, "first": 0.25, "last": 0.25}


@dataclass(frozen=True)
class TokenBank:
    """A frame bank seen through frozen vision: ``tokens_RKSPN`` and the codes ``codes_RKS3`` they show."""

    tokens_RKSPN: torch.Tensor
    codes_RKS3: NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """Visual tokens [B, C, W, N] of B clips, what they show, and J questions about each.

    ``ids_BJT`` holds question and answer; ``wanted_BJT`` marks the rows whose next token belongs to the answer, and
    ``targets_X`` is that token for each marked row in order.
    """

    visual_BCWN: torch.Tensor
    shown: list[SyntheticClip]
    questions: list[list[Question]]
    ids_BJT: torch.Tensor
    wanted_BJT: torch.Tensor
    targets_X: torch.Tensor


class QuestionEncoder:
    """Questions to token ids, remembering them: templates repeat."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer
        self.question = functools.lru_cache(maxsize=65536)(self._question)
        self.answer = functools.lru_cache(maxsize=8192)(self._answer)
        self.pad: int = tokenizer.pad_token_id

    def _question(self, text: str) -> tuple[int, ...]:
        return tuple(question_ids(self._tokenizer, text))

    def _answer(self, text: str) -> tuple[int, ...]:
        return tuple(answer_ids(self._tokenizer, text))

    def rows(self, questions: Sequence[Sequence[Question]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """``ids_BJT``, ``wanted_BJT`` and ``targets_X`` of :class:`Batch`; every clip has equally many questions."""
        pairs = [[(self.question(q.text), self.answer(q.answer)) for q in of_clip] for of_clip in questions]
        width = max(len(question) + len(answer) for of_clip in pairs for question, answer in of_clip)
        ids = np.full((len(pairs), len(pairs[0]), width), self.pad, dtype=np.int64)
        wanted = np.zeros(ids.shape, dtype=bool)
        targets: list[int] = []
        for clip, of_clip in enumerate(pairs):
            for index, (question, answer) in enumerate(of_clip):
                end = len(question) + len(answer)
                ids[clip, index, :end] = question + answer
                wanted[clip, index, len(question) - 1 : end - 1] = True
                targets += answer
        return torch.from_numpy(ids), torch.from_numpy(wanted), torch.tensor(targets)


def compose_clips(
    bank: TokenBank, clips: int, scenes: int, rng: np.random.Generator
) -> tuple[torch.Tensor, list[SyntheticClip]]:
    """``clips`` random clips of unique keys, every second an independently chosen frame of the bank.

    Returns visual tokens [B, C, W, N] and what the clips show.
    """
    renderings, keys = bank.codes_RKS3.shape[:2]
    chosen_BC = np.stack([rng.permutation(keys)[:scenes] for _ in range(clips)])
    rendering_BCS = rng.integers(renderings, size=(clips, scenes, SECONDS_PER_SCENE))
    seconds_S = np.arange(SECONDS_PER_SCENE)
    codes_BCS3 = bank.codes_RKS3[rendering_BCS, chosen_BC[..., None], seconds_S]
    tokens = bank.tokens_RKSPN[
        torch.from_numpy(rendering_BCS), torch.from_numpy(chosen_BC)[..., None], torch.from_numpy(seconds_S)
    ]
    shown = [
        SyntheticClip(
            tuple(
                Scene(KEYS[key][0], KEYS[key][1], tuple((int(a), int(b), int(c)) for a, b, c in codes))
                for key, codes in zip(clip_keys, clip_codes, strict=True)
            )
        )
        for clip_keys, clip_codes in zip(chosen_BC, codes_BCS3, strict=True)
    ]
    return tokens.flatten(2, 3), shown


def random_kind(rng: np.random.Generator, scenes: int, code_share: float, gist: KindMix) -> QuestionKind:
    """A code with this probability, else by the mix of the others; a clip of one scene has nothing "after"."""
    if rng.random() < code_share:
        return "code"
    kinds = list(gist)
    kind = kinds[int(rng.choice(len(kinds), p=list(gist.values())))]
    return "code" if kind == "after" and scenes < 2 else kind


def sample_batch(
    bank: TokenBank,
    encoder: QuestionEncoder,
    *,
    clips: int,
    scenes: int,
    questions: int,
    rng: np.random.Generator,
    code_scenes: Sequence[int] | None = None,
    hard_share: float = 1.0,
    code_share: float = 0.5,
    gist: KindMix = EVEN_MIX,
) -> Batch:
    """A random training batch.

    ``code_scenes`` restricts which scenes' codes are asked for; ``hard_share`` of absent keys are hard ones;
    ``code_share`` of the questions ask for codes, the others are drawn from ``gist``.
    """
    visual_BCWN, shown = compose_clips(bank, clips, scenes, rng)
    asked = [
        [
            ask(clip, random_kind(rng, scenes, code_share, gist), rng, code_scenes=code_scenes, hard_share=hard_share)
            for _ in range(questions)
        ]
        for clip in shown
    ]
    ids, wanted, targets = encoder.rows(asked)
    return Batch(visual_BCWN, shown, asked, ids, wanted, targets)
