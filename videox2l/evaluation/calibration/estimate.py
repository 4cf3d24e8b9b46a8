"""How long a calibration may take, from a single chunk and question."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from videox2l.evaluation.calibration.grid import Grid
from videox2l.evaluation.calibration.measure import Watched
from videox2l.models import KVCompressibleModel


@torch.inference_mode()
def estimate_s(model: KVCompressibleModel, videos: Sequence[Watched], grid: Grid) -> float:
    """Seconds, roughly: chunks times one chunk's prefill, answers times one pass over a question.

    Longer memories make both slower, equal memories are not computed twice: it may be off by a factor of two or three.
    """
    first = videos[0]
    prefill = model.start_prefill(grid.compressions[0], timeline=first.timeline)
    began = time.perf_counter()
    prefill.append(first.chunks[0], last=len(first.chunks) == 1)
    chunk_s = time.perf_counter() - began
    ids = torch.tensor([model.question_ids(first.questions[0].text)], device=model.decoder.device)
    began = time.perf_counter()
    model.decoder(ids, logits_to_keep=1).logits.sum().item()
    answer_s = time.perf_counter() - began
    chunks = sum(len(video.chunks) for video in videos)
    answers = grid.most_answers(sum(len(video.questions) for video in videos))
    return len(grid.compressions) * chunks * chunk_s + answers * answer_s
