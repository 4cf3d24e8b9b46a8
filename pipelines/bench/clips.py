"""Clips with known answers, prefilled in this process and kept in memory."""

from __future__ import annotations

import bisect
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from videox2l.config import SamplingConfig
from videox2l.kv import KV, ChunkKV
from videox2l.models import KVCompressibleModel
from videox2l.video import decode_chunks, plan_video
from videox2l.video.synthetic import (
    HELD_OUT_SEED,
    SECONDS_PER_SCENE,
    Question,
    QuestionKind,
    SyntheticClip,
    ask,
    render,
)

# Nothing else evaluates on seeds from here on, so no choice was tuned to these clips.
FIRST_SEED = HELD_OUT_SEED + 20_000

SCENES = (8, 16, 24)
"""Scenes (of 8 seconds) of the clips, in turn: enough that a scorer can be wrong, few enough to render in seconds."""

# Codes are what detail is for and what coarse KVs would spoil first, so they are asked most.
QUESTIONS: dict[QuestionKind, int] = {"code": 16, "exists": 8, "after": 8, "first": 2, "last": 2}


@dataclass(frozen=True)
class PrefilledClip:
    """A clip's KVs, both levels of every chunk in time order, and questions about it. ``starts_s``: of the chunks."""

    prompt: KV
    chunks: tuple[ChunkKV, ...]
    starts_s: tuple[float, ...]
    questions: tuple[Question, ...]

    def right_chunk(self, question: Question) -> int | None:
        """The chunk that shows what a question asks for, where one second does; a model's chunks need not be scenes."""
        if question.chunk is None or question.second is None:
            return None
        time_s = question.chunk * SECONDS_PER_SCENE + question.second - 1
        return bisect.bisect_right(self.starts_s, time_s) - 1


def prefill_clip(model: KVCompressibleModel, number: int, seed: int) -> PrefilledClip:
    """Render clip ``number`` of the series ``seed`` to a real H.264 file and prefill it as an ingest would."""
    clip_seed, scenes = FIRST_SEED + 1000 * seed + number, SCENES[number % len(SCENES)]
    clip = SyntheticClip.from_seed(clip_seed, scenes)
    compression = model.default_compression
    prefill, chunks = model.start_prefill(compression), []
    with tempfile.TemporaryDirectory(prefix="videox2l-bench-") as folder:
        path = Path(folder) / "clip.mp4"
        render(clip, path)
        planned = plan_video(path, SamplingConfig(), compression.frames_per_chunk).chunks
        for item in decode_chunks(path, planned, model.frame_format):
            visual_tokens_TN = model.encode_frames(torch.from_numpy(item.frames_FHWC))
            prefill.at(item.chunk.times_s)
            kvs = prefill.append(visual_tokens_TN, last=item.chunk.index == len(planned) - 1)
            chunks.append({level: kv.to(device="cpu") for level, kv in kvs.items()})
    starts_s = tuple(chunk.start_s for chunk in planned)
    return PrefilledClip(prefill.prompt, tuple(chunks), starts_s, _questions(clip, clip_seed))


def _questions(clip: SyntheticClip, seed: int) -> tuple[Question, ...]:
    rng = np.random.default_rng(seed)
    # Codes of inner scenes only: the first and the last chunk are kept in detail at both levels.
    inner = range(1, len(clip.scenes) - 1)
    return tuple(ask(clip, kind, rng, code_scenes=inner) for kind, count in QUESTIONS.items() for _ in range(count))
