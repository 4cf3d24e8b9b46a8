"""The uncompressed model: the prompt and every visual token in an ordinary KV cache, a yardstick for short videos."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import torch
from transformers import DynamicCache

from videox2l.answering.answer import TokenLogprob
from videox2l.answering.decode import generate
from videox2l.answering.stopwatch import Stopwatch
from videox2l.answering.text import AnswerText
from videox2l.config import CompressionConfig, GenerationConfig
from videox2l.errors import QuestionTooLongError
from videox2l.kv import KV, MixedKV, mix
from videox2l.models import KVCompressibleModel, PrefillState, Timeline
from videox2l.models.cache import to_cache

# Tokens that run together: enough to fill a GPU, while attention to a long cache stays within its memory.
_PIECE = 1024


class FullKV:
    """A video's uncompressed memory on a model that nobody else uses meanwhile. Questions leave it as it was."""

    @torch.inference_mode()
    def __init__(
        self, model: KVCompressibleModel, prompt: KV, chunks: Iterable[torch.Tensor], timeline: Timeline
    ) -> None:
        """``prompt``: uncompressed KVs in front of the video; ``chunks``: visual tokens [T, hidden] each.

        ``timeline`` is that of all frames of ``chunks``.
        """
        self._model = model
        if model.geometry.keys_in_place:
            self._cache: DynamicCache = to_cache(_dense(model, prompt, chunks, timeline))
            return
        self._cache = to_cache(mix(prompt, [], partial(model.rope_tables, 0)))
        seen = 0
        for visual_TN in chunks:
            frames = len(visual_TN) // model.tokens_per_frame
            last = seen + frames == len(timeline.times_s)
            rows_XN = model.dense_rows(visual_TN, seen, timeline, last=last)
            seen += frames
            for piece_TN in rows_XN.split(_PIECE):
                model.decoder(inputs_embeds=piece_TN[None], past_key_values=self._cache, logits_to_keep=1)

    @property
    def tokens(self) -> int:
        return int(self._cache.get_seq_length())

    @property
    def cache(self) -> DynamicCache:
        """Who lets it grow crops it again."""
        return self._cache

    def ask(self, question: str, generation: GenerationConfig) -> tuple[str, list[TokenLogprob]]:
        """The answer's text, and its tokens' log probabilities where ``generation`` wants them."""
        model, before = self._model, self.tokens
        text = AnswerText(model.tokenizer, generation)
        picks = generate(model.decoder, model.question_ids(question), self._cache, generation, model.stop_ids)
        for _ in text.deltas(([pick] for pick in picks), Stopwatch()):
            pass
        self._cache.crop(before - self.tokens)
        return text.text, text.logprobs or []


def _dense(model: KVCompressibleModel, prompt: KV, chunks: Iterable[torch.Tensor], timeline: Timeline) -> MixedKV:
    """The same by a prefill that compresses nothing, for models that know best where their tokens stand."""
    prefill = model.start_prefill(CompressionConfig(low_ratio=1, high_ratio=1), PrefillState(prompt, []), timeline)
    parts = [prefill.append(visual_TN, last=False)["low"] for visual_TN in chunks]
    return mix(prompt, parts, partial(model.rope_tables, 0))


def check_room(
    model: KVCompressibleModel, memory_tokens: int, question: str, generation: GenerationConfig, what: str
) -> None:
    """Raise :class:`QuestionTooLongError` where ``what`` of so many tokens and a whole answer exceed the context.

    Before anything of that size is put into memory.
    """
    needed = memory_tokens + len(model.question_ids(question)) + generation.max_new_tokens
    if needed > model.context_length:
        raise QuestionTooLongError(
            f"{what} ({memory_tokens} tokens), question and answer take {needed} positions, the model's context has "
            f"{model.context_length}"
        )
