"""Many questions at once on one model: what :func:`~videox2l.answering.stream_answer` does for one, shared.

Reading, mixing and text run in the threads that ask; scores and tokens in the model's own. A question that was asked
before over the same chunks mixes nothing again, and a conversation runs only its new tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType

import torch

from videox2l.answering import evidence
from videox2l.answering.adaptive import stream_selected
from videox2l.answering.answer import Answer, TextDelta, Turn
from videox2l.answering.batch import Row, Scheduler
from videox2l.answering.batch.attention import Segment
from videox2l.answering.conversations import Conversations
from videox2l.answering.costs import Costs
from videox2l.answering.dialogue import fit_context, tokenize
from videox2l.answering.likelihood import logprob, text_ids
from videox2l.answering.memory import Means, MixedCache, build_memory
from videox2l.answering.resident import ResidentVideo
from videox2l.answering.sampling import Sampler
from videox2l.answering.stopwatch import Stopwatch
from videox2l.answering.text import AnswerText
from videox2l.answering.time_range import TimeRange
from videox2l.config import GenerationConfig, SelectionConfig
from videox2l.errors import ConfigError
from videox2l.models import KVCompressibleModel
from videox2l.store.byte_cache import CacheStats


@dataclass(frozen=True)
class EngineConfig:
    """How an :class:`AnswerEngine` works.

    ``slots``: answers that are decoded together; more wait. ``step_tokens``: tokens of questions that run in one step
    beside them. ``mixed_bytes``: budget for mixed KVs that are kept for later questions. ``conversation_bytes``: the
    same for KVs of earlier turns. ``low_deadline_s``: how long a question waits for low KVs before it is answered from
    the high ones instead: longer than a healthy storage ever takes, shorter than a reader's patience.
    ``gather_s``: how long the model waits for questions that :meth:`AnswerEngine.expect` was told of, to take them on
    together. ``streaming``: tokens are handed over as they come, not all with the last.
    """

    slots: int = 16
    step_tokens: int = 256
    mixed_bytes: int = 2**30
    conversation_bytes: int = 2**28
    low_deadline_s: float = 5.0
    gather_s: float = 0.0
    streaming: bool = True

    def __post_init__(self) -> None:
        for name in ("slots", "step_tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("mixed_bytes", "conversation_bytes", "low_deadline_s", "gather_s"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} must be 0 or more, got {getattr(self, name)}")


class AnswerEngine:
    """Answers questions of many threads on one model, which nobody else may use meanwhile. A context manager."""

    def __init__(self, model: KVCompressibleModel, config: EngineConfig | None = None) -> None:
        config = config or EngineConfig()
        self._model = model
        self._scheduler = Scheduler(model, slots=config.slots, step_tokens=config.step_tokens, gather_s=config.gather_s)
        self._streaming = config.streaming
        self._mixes = MixedCache(lambda mixed: mixed.nbytes, config.mixed_bytes)
        self._conversations = Conversations(config.conversation_bytes)
        self._means = Means(self._scheduler.call, self._mixes, config.low_deadline_s)

    def stream(
        self,
        video: ResidentVideo,
        question: str,
        selection: SelectionConfig | None = None,
        generation: GenerationConfig | None = None,
        time_range: TimeRange | None = None,
        history: Sequence[Turn] = (),
        asker: str = "",
        watch: Stopwatch | None = None,
    ) -> Iterator[TextDelta | Answer]:
        """As :func:`~videox2l.answering.stream_answer`, with the same tokens; closing the iterator frees its place.

        KVs of earlier turns serve the same ``asker`` only, so that nobody learns what others have asked.
        ``watch`` was started when the question arrived; by default that is now.
        """
        costs, generation = Costs(watch), generation or GenerationConfig()

        def once(selection: SelectionConfig) -> Iterator[TextDelta | Answer]:
            return self._once(video, question, selection, generation, time_range, history, asker, costs)

        yield from stream_selected(once, selection or SelectionConfig())

    def _once(
        self,
        video: ResidentVideo,
        question: str,
        selection: SelectionConfig,
        generation: GenerationConfig,
        time_range: TimeRange | None,
        history: Sequence[Turn],
        asker: str,
        costs: Costs,
    ) -> Iterator[TextDelta | Answer]:
        model = self._model
        dialogue = tokenize(model, question, history)
        chunks = tuple(range(video.chunks)) if time_range is None else time_range.chunks(video.manifest)
        memory = build_memory(model, video, dialogue, selection, chunks, costs, self._means)
        generation = fit_context(model, memory.mixed.tokens, dialogue, generation)
        ids = dialogue.ids
        conversation = (asker, memory.key)
        kept = self._conversations.find(conversation, ids)
        costs.conversation_reused = kept is not None and bool(history)
        done = 0 if kept is None else kept.tokens
        device: torch.device = model.decoder.device
        segments: list[Segment] = [memory.mixed] if kept is None else [memory.mixed, kept]
        row = Row(ids[done:], segments, memory.mixed.tokens + done, Sampler(generation, device))
        # A stop text has to be looked for as the answer grows.
        hurry = self._streaming or bool(generation.stop)
        ticket = self._scheduler.submit(row, generation.max_new_tokens, model.stop_ids, hurry=hurry)
        text = AnswerText(model.tokenizer, generation)
        tokens: list[int] = []
        try:
            yield from text.deltas(ticket.groups(into=tokens, watch=costs.watch), costs.watch)
        finally:
            ticket.cancel()
        if ticket.kvs is not None:
            whole = ticket.kvs if kept is None else kept.then(ticket.kvs)
            self._conversations.keep(conversation, [*ids, *tokens][: whole.tokens], whole)
        yield evidence.answer(video, question, memory, text, len(ids), costs)

    def logprob(
        self,
        video: ResidentVideo,
        question: str,
        answer: str,
        selection: SelectionConfig | None = None,
        time_range: TimeRange | None = None,
        history: Sequence[Turn] = (),
    ) -> float:
        """Natural logarithm of the probability of the text ``answer``; the rest as of :meth:`stream`.

        Whatever ``answer`` is: how likely an answer becomes over other chunks tells what it rests on.
        """
        model, costs = self._model, Costs()
        dialogue, ids = tokenize(model, question, history), text_ids(model, answer)
        chunks = tuple(range(video.chunks)) if time_range is None else time_range.chunks(video.manifest)
        memory = build_memory(model, video, dialogue, selection or SelectionConfig(), chunks, costs, self._means)
        # The last token need not be looked at: nothing comes behind it.
        fit_context(model, memory.mixed.tokens + max(0, len(ids) - 1), dialogue, GenerationConfig())
        return self._scheduler.call(partial(logprob, model, memory.mixed, dialogue, ids))

    def expect(self, questions: int) -> None:
        """So many questions are about to be asked; below 0: so many of them have their answers, or none."""
        self._scheduler.expect(questions)

    @property
    def running(self) -> int:
        """Answers that are being decoded."""
        return self._scheduler.running

    @property
    def tokens(self) -> int:
        """Generated since the start."""
        return self._scheduler.tokens

    def stats(self) -> dict[str, CacheStats]:
        """Of the caches for ``mixed`` KVs and for ``conversation``s."""
        return {"mixed": self._mixes.stats(), "conversation": self._conversations.stats()}

    def close(self) -> None:
        """End the model's thread. Questions under way raise."""
        self._scheduler.close()

    def __enter__(self) -> AnswerEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
