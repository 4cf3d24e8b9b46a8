"""What Ray runs: an answer stage that ends the job where answers cannot be stored."""

from __future__ import annotations

from typing import Any

import ray

from pipelines.batch.stage import AnswerStage, Job
from videox2l.errors import VideoX2LError


class AnswerStageWorker(AnswerStage):
    """An :class:`AnswerStage` whose own errors end the job in their own words.

    Errors of questions are rows. What is left concerns all of them: answers that cannot be stored, above all. Ray Data
    would hand it on as an error of its own, with the reason lost and a traceback that is nobody's to read.
    """

    def __init__(self, job: Job, tracker: Any) -> None:
        super().__init__(job, tracker)
        self._reports = tracker

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        try:
            return super().__call__(item)
        except VideoX2LError as error:
            ray.get(self._reports.give_up.remote(error))
            return {"result": str(error)}
