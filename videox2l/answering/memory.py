"""The memory of one question: the prompt and its chunks, in detail where they were chosen and can be had."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from videox2l.answering.dialogue import Dialogue
from videox2l.answering.resident import ResidentVideo
from videox2l.answering.stopwatch import Stopwatch
from videox2l.config import SelectionConfig
from videox2l.kv import KV, MixedKV, mix
from videox2l.models import KVCompressibleModel
from videox2l.selection import QuestionContext, needs_scores, select


@dataclass(frozen=True)
class Memory:
    """Mixed KVs and where they came from.

    ``chunks``: numbers of all chunks in it, in time order. ``detailed``: those at low compression. ``missing``: chosen
    chunks that are there at high compression only, and why. ``scores``: one a chunk of the video, ``None`` for chunks
    that are not in the memory; ``None`` as a whole where no scorer was asked.
    """

    mixed: MixedKV
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
    watch: Stopwatch,
    bytes_read: dict[str, int],
) -> Memory:
    """Select among ``chunks`` for the question of ``dialogue`` and mix the memory of them.

    High KVs that neither a scorer nor the memory needs are not fetched. Raises
    :class:`~videox2l.errors.ConfigError` for a selection that ``chunks`` do not hold, and the archive's errors.
    """
    prompt = video.prompt(bytes_read)
    watch.lap("load")
    context = None
    if needs_scores(selection):
        high = video.high(chunks, bytes_read)
        watch.lap("load")
        context = QuestionContext(model, dialogue.ids, _mix(model, prompt, high), len(dialogue.history))
    low_bytes = [video.level_bytes("low", [chunk]) for chunk in range(video.chunks)]
    chosen = select(selection, video.chunks, context, chunks, low_bytes)
    watch.lap("select")
    low = video.low(chosen.chunks, bytes_read)
    watch.lap("fetch_low")
    missing = {**chosen.beyond_budget, **low.missing}
    detailed = [chunk for chunk in chosen.chunks if chunk in low.found]
    if context is not None and not detailed:
        return Memory(context.memory, chunks, detailed, missing, chosen.scores)
    rest = [chunk for chunk in chunks if chunk not in low.found]
    parts = {**low.found, **dict(zip(rest, video.high(rest, bytes_read), strict=True))}
    watch.lap("load")
    mixed = _mix(model, prompt, [parts[chunk] for chunk in chunks])
    watch.lap("mix")
    return Memory(mixed, chunks, detailed, missing, chosen.scores)


@torch.inference_mode()
def _mix(model: KVCompressibleModel, prompt: KV, parts: Sequence[KV]) -> MixedKV:
    return mix(prompt, parts, partial(model.rope_tables, 0))
