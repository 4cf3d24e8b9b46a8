"""The memory of one question: the prompt and its chunks, in detail where they were chosen and can be had."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch

from videox2l.answering.costs import Costs
from videox2l.answering.dialogue import Dialogue, room
from videox2l.answering.resident import ResidentVideo
from videox2l.config import SelectionConfig
from videox2l.kv import KV, MixedKV, Mixer, mix
from videox2l.models import KVCompressibleModel
from videox2l.selection import QuestionContext, Selection, needs_scores, select, shares_queries
from videox2l.store.byte_cache import ByteCache

T = TypeVar("T")

# Of the last memories of a video so many are looked at for what has not moved; each look takes as long as the video.
_BASES = 4

MixedCache = ByteCache[Hashable, MixedKV]


def _at_once(work: Callable[[], T], _: QuestionContext | None) -> T:
    return work()


@dataclass(frozen=True)
class Means:
    """How memories are made: ``run`` has the model work, ``mixes`` keeps mixed KVs for later questions.

    ``run`` is given a question's context where work for several may be begun together.

    ``low_deadline_s``: how long a question waits for low KVs before it takes the high ones instead.
    """

    run: Callable[[Callable[[], Selection], QuestionContext | None], Selection] = _at_once
    mixes: MixedCache | None = None
    low_deadline_s: float | None = None


@dataclass(frozen=True)
class Memory:
    """Mixed KVs and where they came from.

    ``chunks``: numbers of all chunks in it, in time order. ``detailed``: those at low compression. ``missing``: chosen
    chunks that are there at high compression only, and why. ``scores``: one a chunk of the video, ``None`` for chunks
    that are not in the memory; ``None`` as a whole where no scorer was asked.
    """

    mixed: MixedKV
    key: Hashable
    """Equal for equal memories."""
    chunks: Sequence[int]
    detailed: Sequence[int]
    missing: Mapping[int, str]
    scores: tuple[float | None, ...] | None

    @property
    def gist(self) -> Sequence[int]:
        """Chunks whose high KVs were used: for scores or in the memory itself."""
        if self.scores is not None:
            return self.chunks
        detailed = set(self.detailed)
        return [chunk for chunk in self.chunks if chunk not in detailed]


def build_memory(
    model: KVCompressibleModel,
    video: ResidentVideo,
    dialogue: Dialogue,
    selection: SelectionConfig,
    chunks: Sequence[int],
    costs: Costs,
    means: Means | None = None,
) -> Memory:
    """Select among ``chunks`` for the question of ``dialogue`` and mix the memory of them.

    High KVs that neither a scorer nor the memory needs are not fetched. Raises
    :class:`~videox2l.errors.ConfigError` for a selection that ``chunks`` do not hold,
    :class:`~videox2l.errors.QuestionTooLongError` before anything is fetched that the model's context cannot hold, and
    the archive's errors.
    """
    making = _Making(model, video, tuple(chunks), costs, means or Means())
    room(model, making.tokens(()), dialogue, gist=True)
    prompt = video.prompt(costs)
    costs.watch.lap("load")
    chosen = making.choose(prompt, dialogue, selection)
    costs.watch.lap("select")
    room(model, making.tokens(chosen.chunks), dialogue)
    mixed, missing = making.mixed(prompt, chosen.chunks, selection)
    detailed = [chunk for chunk in chosen.chunks if chunk not in missing]
    missing = {**chosen.beyond_budget, **missing}
    return Memory(mixed, making.key(detailed), chunks, detailed, missing, chosen.scores)


class _Making:
    """One question's way through the stages."""

    def __init__(
        self, model: KVCompressibleModel, video: ResidentVideo, chunks: tuple[int, ...], costs: Costs, means: Means
    ) -> None:
        self._model, self._video, self._chunks = model, video, chunks
        self._costs, self._means = costs, means
        self._mixes = means.mixes if means.mixes is not None else MixedCache(lambda mixed: mixed.nbytes, 0)
        self._rope_tables = partial(model.rope_tables, 0)

    def key(self, detailed: Sequence[int]) -> Hashable:
        return self._video.key, self._chunks, tuple(detailed)

    def tokens(self, chosen: Sequence[int]) -> int:
        """How many a memory with ``chosen`` in detail has, as far as they can be had so."""
        entries = self._video.manifest.chunks
        here = [chunk for chunk in chosen if "low" in entries[chunk].levels]
        return self._video.manifest.prompt.tokens + sum(self._expected(here))

    def choose(self, prompt: KV, dialogue: Dialogue, selection: SelectionConfig) -> Selection:
        context = None
        if needs_scores(selection):
            gist = self._gist(prompt)
            self._costs.watch.lap("load")
            context = QuestionContext(
                self._model,
                dialogue.ids,
                gist,
                len(dialogue.history),
                dialogue.text,
                self._video.retrieved(self._chunks),
            )
        video = self._video
        limited = selection.budget.max_bytes is not None
        low_bytes = [video.level_bytes("low", [chunk]) for chunk in range(video.chunks)] if limited else None
        work = partial(select, selection, video.chunks, context, self._chunks, low_bytes)
        if context is None:
            return work()
        return self._means.run(work, context if shares_queries(selection) else None)

    def mixed(self, prompt: KV, chosen: Sequence[int], selection: SelectionConfig) -> tuple[MixedKV, dict[int, str]]:
        """The memory with ``chosen`` in detail, and those of them that cannot be had."""
        if (kept := self._mixes.find(self.key(chosen))) is not None:
            self._costs.memory_reused = True
            self._costs.watch.lap("mix")
            return kept, {}
        if not chosen:
            mixed = self._gist(prompt)
            self._costs.watch.lap("mix")
            return mixed, {}
        return self._with_low(prompt, chosen, selection)

    @torch.inference_mode()
    def _with_low(
        self, prompt: KV, chosen: Sequence[int], selection: SelectionConfig, *, anew: bool = False
    ) -> tuple[MixedKV, dict[int, str]]:
        """Low KVs are put in place as they arrive, while others are under way.

        What an earlier memory holds at the same positions is taken from there, unless it is to be made ``anew``.
        """
        mixer = Mixer(prompt, self._expected(chosen), self._rope_tables, self._next_position())
        kept = set() if anew else self._keep(mixer, chosen)
        arriving = self._video.low(
            [chunk for chunk in chosen if chunk not in kept], self._costs, self._deadline(selection)
        )
        found: dict[int, KV] = {}
        missing: dict[int, str] = {}
        elsewhere = kept.union(chosen)
        rest = [chunk for chunk in self._chunks if chunk not in elsewhere]
        high = dict(zip(rest, self._video.high(rest, self._costs), strict=True))
        self._costs.watch.lap("load")
        places = {chunk: place for place, chunk in enumerate(self._chunks)}
        mixer.place({places[chunk]: kv for chunk, kv in high.items()})
        self._costs.watch.lap("mix")
        for chunk, kv_or_reason in arriving:
            self._costs.watch.lap("fetch_low")
            if isinstance(kv_or_reason, str):
                missing[chunk] = kv_or_reason
            else:
                found[chunk] = kv_or_reason
                mixer.place({places[chunk]: kv_or_reason})
            self._costs.watch.lap("mix")
        self._costs.watch.lap("fetch_low")
        detailed = [chunk for chunk in chosen if chunk not in missing]
        if missing and kept:
            if not detailed:
                return self._gist(prompt), missing
            whole, more = self._with_low(prompt, detailed, selection, anew=True)
            return whole, {**missing, **more}
        if missing:  # what lies behind a missing chunk has other positions
            instead = dict(zip(missing, self._video.high(list(missing), self._costs), strict=True))
            self._costs.watch.lap("load")
            parts = {**high, **found, **instead}
            whole = mix(prompt, [parts[chunk] for chunk in self._chunks], self._rope_tables)
        else:
            whole = mixer.finish()
        mixed = self._mixes.get(self.key(detailed), lambda: whole)
        self._costs.watch.lap("mix")
        return mixed, missing

    def _expected(self, chosen: Sequence[int]) -> list[int]:
        """Tokens of each chunk with ``chosen`` in detail."""
        detailed, entries = set(chosen), self._video.manifest.chunks
        stored = (entries[chunk].levels.get("low" if chunk in detailed else "high") for chunk in self._chunks)
        return [kv.tokens if kv else 0 for kv in stored]

    def _next_position(self) -> int | None:
        """Where text behind the last chunk begins, which is the same at both levels."""
        levels = self._video.manifest.chunks[self._chunks[-1]].levels.values()
        return next((stored.next_position for stored in levels), None)

    def _keep(self, mixer: Mixer, chosen: Sequence[int]) -> set[int]:
        """Take over what one of the last memories of these chunks has in the same place; which chunks these are.

        With as many other chunks in detail as before, that is all but what lies between the first and the last of those
        that changed.
        """
        best: tuple[int, MixedKV, set[int]] | None = None
        earlier = self._mixes.recent(lambda key: isinstance(key, tuple) and key[:2] == (self._video.key, self._chunks))
        for key, base in earlier[:_BASES]:
            changed = set(key[2]).symmetric_difference(chosen)  # type: ignore[index]
            same = {place for place in mixer.unmoved(base) if self._chunks[place] not in changed}
            tokens = sum(base.chunk_slices[place].stop - base.chunk_slices[place].start for place in same)
            if tokens and (best is None or tokens > best[0]):
                best = tokens, base, same
        if best is None:
            return set()
        mixer.keep(best[1], best[2])
        return {self._chunks[place] for place in best[2]}

    @torch.inference_mode()
    def _gist(self, prompt: KV) -> MixedKV:
        """All chunks at high compression."""

        def make() -> MixedKV:
            return mix(prompt, self._video.high(self._chunks, self._costs), self._rope_tables)

        return self._mixes.get(self.key(()), make)

    def _deadline(self, selection: SelectionConfig) -> float | None:
        """When to go on without low KVs, by ``time.perf_counter()``."""
        ends = []
        if (limit_ms := selection.budget.max_first_token_ms) is not None:
            ends.append(self._costs.watch.start + limit_ms / 1000)
        if self._means.low_deadline_s is not None and self._video.has_caches:
            ends.append(time.perf_counter() + self._means.low_deadline_s)
        return min(ends, default=None)
