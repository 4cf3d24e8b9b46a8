"""Answers over every setting's memory, held against those over the whole video."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import DynamicCache

from videox2l.answering.decode import generate
from videox2l.config import CompressionConfig, GenerationConfig, SamplingConfig, SelectionConfig
from videox2l.errors import ConfigError
from videox2l.evaluation.benchmarks.full_kv import FullKV, check_room
from videox2l.evaluation.calibration.grid import Grid, Setting
from videox2l.evaluation.calibration.questions import Question, is_right
from videox2l.kv import KV, MixedKV, mix, reload
from videox2l.kv.codecs import CODECS
from videox2l.models import KVCompressibleModel, Timeline
from videox2l.models.cache import to_cache
from videox2l.prefill.chunks import timeline_of
from videox2l.selection import QuestionContext, select
from videox2l.selection.policy import choose
from videox2l.video import decode_chunks_isolated, plan_video_isolated

Reference = Literal["full", "low"]
"""The whole video uncompressed, or, where that exceeds the model's context, all chunks at the least low ratio tried."""


@dataclass(frozen=True)
class Watched:
    """A video as the model's vision sees it: visual tokens ``[T, hidden]`` of each chunk, when frames are shown; and
    what is asked of it. ``name``: its path, as those of different folders may have the same file name."""

    name: str
    chunks: list[torch.Tensor]
    timeline: Timeline
    questions: Sequence[Question]


@dataclass(frozen=True)
class Measurement:
    """How one question fared. ``setting`` is ``None`` for the reference itself. Fields as of a calibrated setting."""

    video: str
    question: str
    setting: Setting | None
    agrees: bool
    kl: float
    logit_difference: float
    bytes_read: int
    right: bool | None


@dataclass(frozen=True)
class _Answer:
    """The reference's: its tokens, the logits that led to each and to its end, and what it says."""

    ids: list[int]
    logits_TV: torch.Tensor
    text: str


def watch(
    model: KVCompressibleModel,
    path: Path,
    sampling: SamplingConfig,
    frames_per_chunk: int,
    questions: Sequence[Question],
) -> Watched:
    """Decode and look at a video.

    :raises ConfigError: nothing is asked of it.
    :raises VideoError: it cannot be used.
    """
    own = [question for question in questions if question.video in ("", path.name, str(path))]
    if not own:
        raise ConfigError(f"no question is about {path.name}: give one without a video, or leave the file out")
    plan = plan_video_isolated(path, sampling, frames_per_chunk)
    with closing(decode_chunks_isolated(path, plan.chunks, model.frame_format)) as decoded, torch.inference_mode():
        chunks = [model.encode_frames(torch.from_numpy(item.frames_FHWC)) for item in decoded]
    return Watched(str(path), chunks, timeline_of(plan.chunks), own)


@torch.inference_mode()
def measure(
    model: KVCompressibleModel,
    video: Watched,
    grid: Grid,
    *,
    reference: Reference = "full",
    max_new_tokens: int = 32,
    progress: Callable[[], None] = lambda: None,
) -> list[Measurement]:
    """All of ``grid`` on one video. ``progress`` is called after each compression and codec.

    Answers are as long as ``max_new_tokens`` at most.

    :raises QuestionTooLongError: the whole video exceeds the model's context.
    """
    of_video = _Video(model, video, grid, GenerationConfig(max_new_tokens=max_new_tokens))
    answers = of_video.reference(reference)
    found = [of_video.judged(None, answers[number], answers[number], number, 0) for number in range(len(answers))]
    for compression in grid.compressions:
        for codec in grid.codecs:
            found += of_video.under(compression, codec, answers)
            progress()
    return found


class _Video:
    def __init__(self, model: KVCompressibleModel, video: Watched, grid: Grid, generation: GenerationConfig) -> None:
        self._model, self._video, self._grid, self._generation = model, video, grid, generation
        self._levels = cache(self._prefill)
        self._ids = [model.question_ids(question.text) for question in video.questions]
        # Lossless codecs share their answers: what is left of a memory, by compression and codec.
        self._known: dict[tuple[CompressionConfig, str, tuple[int, ...], int], tuple[_Answer, bool | None]] = {}

    def reference(self, reference: Reference) -> list[_Answer]:
        if reference == "low":
            least = min(self._grid.compressions, key=lambda compression: compression.low_ratio)
            prompt, low, _ = self._levels(least)
            return [self._answer(to_cache(self._memory(prompt, low)), number) for number in range(len(self._ids))]
        prompt, *_ = self._levels(self._grid.compressions[0])
        tokens = prompt.tokens + sum(len(chunk) for chunk in self._video.chunks)
        for question in self._video.questions:
            what = f"{self._video.name}, uncompressed"
            check_room(self._model, tokens, question.text, self._generation, what)
        cache = FullKV(self._model, prompt, self._video.chunks, self._video.timeline).cache
        return [self._answer(cache, number) for number in range(len(self._ids))]

    def under(self, compression: CompressionConfig, codec: str, answers: Sequence[_Answer]) -> Iterator[Measurement]:
        prompt, *levels = self._levels(compression)
        (low, low_bytes), (high, high_bytes) = (_coded(kvs, codec) for kvs in levels)
        numbers = "lossless" if CODECS[codec].lossless else codec
        everything = tuple(range(len(high)))
        gist = self._memory(prompt, high)
        always = _bytes(prompt) + sum(high_bytes)
        for number, answer in enumerate(answers):
            context = QuestionContext(self._model, self._ids[number], gist)
            scores = {
                scorer: select(SelectionConfig(scorer, 1), len(high), context).scores for scorer in self._grid.scorers
            }
            for name, k in self._grid.selections():
                if name in scores:
                    of_scorer = [score or 0.0 for score in scores[name] or ()]
                    chunks = tuple(sorted(choose("top_k", of_scorer, min(k, len(high)))))
                else:
                    chunks = everything if name == "all" else ()
                read = sum(low_bytes[chunk] for chunk in chunks)
                # Who reads everything low needs no gist.
                read += _bytes(prompt) if name == "all" else always
                key = (compression, numbers, chunks, number)
                if key not in self._known:
                    memory = self._memory(prompt, reload(high, {chunk: low[chunk] for chunk in chunks}))
                    self._known[key] = self._compared(memory, answer, number)
                given, right = self._known[key]
                yield self.judged(Setting(compression, codec, name, k), given, answer, number, read, right)

    def judged(
        self,
        setting: Setting | None,
        given: _Answer,
        answer: _Answer,
        number: int,
        read: int,
        right: bool | None = None,
    ) -> Measurement:
        question = self._video.questions[number]
        if setting is None and question.answer is not None:
            right = is_right(answer.text, question.answer)
        theirs, ours = answer.logits_TV.log_softmax(-1), given.logits_TV.log_softmax(-1)
        kl_T = (theirs.exp() * (theirs - ours)).sum(-1).clamp_min(0)
        return Measurement(
            self._video.name,
            question.text,
            setting,
            agrees=_agree(given, answer),
            kl=float(kl_T.mean()),
            logit_difference=float((given.logits_TV - answer.logits_TV).abs().max()),
            bytes_read=read,
            right=right,
        )

    def _compared(self, memory: MixedKV, answer: _Answer, number: int) -> tuple[_Answer, bool | None]:
        """The logits over ``memory`` along the reference's answer, and whether its own greedy answer is the known one.

        Greedy decoding gives the reference's answer exactly if each of its tokens is the likeliest behind the others.
        """
        cache = to_cache(memory)
        logits_TV = self._logits(cache, number, answer)
        given = _Answer(answer.ids, logits_TV, answer.text)
        known = self._video.questions[number].answer
        if known is None:
            return given, None
        text = answer.text if _agree(given, answer) else self._text(self._greedy(cache, number))
        return given, is_right(text, known)

    def _answer(self, cache: DynamicCache, number: int) -> _Answer:
        ids = self._greedy(cache, number)
        answer = _Answer(ids, torch.empty(0), self._text(ids))
        return _Answer(ids, self._logits(cache, number, answer), answer.text)

    def _greedy(self, cache: DynamicCache, number: int) -> list[int]:
        before = cache.get_seq_length()
        model = self._model
        picks = generate(model.decoder, self._ids[number], cache, self._generation, model.stop_ids)
        ids = [pick.token for pick in picks]
        cache.crop(before - cache.get_seq_length())
        return ids

    def _logits(self, cache: DynamicCache, number: int, answer: _Answer) -> torch.Tensor:
        """Of every token of the answer and, where it ends by itself, of its end: ``[T, vocabulary]`` in float32."""
        before = cache.get_seq_length()
        decoder = self._model.decoder
        ids_1T = torch.tensor([[*self._ids[number], *answer.ids]], device=decoder.device)
        logits_TV = decoder(ids_1T, past_key_values=cache, logits_to_keep=len(answer.ids) + 1).logits[0]
        cache.crop(before - cache.get_seq_length())
        ended = len(answer.ids) < self._generation.max_new_tokens
        return (logits_TV if ended else logits_TV[:-1]).float().cpu()

    def _text(self, ids: list[int]) -> str:
        return str(self._model.tokenizer.decode(ids, skip_special_tokens=True))

    def _memory(self, prompt: KV, parts: Sequence[KV]) -> MixedKV:
        device = self._model.decoder.device
        return mix(prompt, [part.to(device=device) for part in parts], partial(self._model.rope_tables, 0))

    def _prefill(self, compression: CompressionConfig) -> tuple[KV, list[KV], list[KV]]:
        """The prompt, and both levels of every chunk."""
        prefill = self._model.start_prefill(compression, timeline=self._video.timeline)
        last = len(self._video.chunks) - 1
        found = [prefill.append(tokens_TN, last=index == last) for index, tokens_TN in enumerate(self._video.chunks)]
        return prefill.prompt, [kvs["low"] for kvs in found], [kvs["high"] for kvs in found]


def _agree(given: _Answer, answer: _Answer) -> bool:
    return bool((given.logits_TV.argmax(-1) == answer.logits_TV.argmax(-1)).all())


def _coded(kvs: Sequence[KV], name: str) -> tuple[list[KV], list[int]]:
    """What a codec leaves of KVs, and how many bytes each takes."""
    back, sizes = [], []
    for kv in kvs:
        encoded: dict[str, Any] = CODECS[name].encode(kv)
        fields = {field: memoryview(data).cast("B") for field, data in encoded.items()}
        layers, heads, tokens, dim = kv.keys_LHTD.shape
        decoded = CODECS[name].decode(fields, (layers, heads, tokens, dim), kv.keys_LHTD.dtype)
        back.append(replace(decoded, next_position=kv.next_position))
        sizes.append(sum(data.nbytes for data in fields.values()))
    return back, sizes


def _bytes(kv: KV) -> int:
    return kv.keys_LHTD.nbytes + kv.values_LHTD.nbytes
