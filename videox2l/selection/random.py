"""The control every scorer has to beat: scores that know nothing of the question."""

from __future__ import annotations

import random

from videox2l.selection.scorer import QuestionContext


def score_randomly(context: QuestionContext) -> list[float]:
    """Uniform scores, the same for the same question over the same number of chunks, so that answers repeat."""
    generator = random.Random(f"{context.question_ids} {context.chunks}")
    return [generator.random() for _ in range(context.chunks)]
