"""Questions with known answers about rendered clips, asked over memories of equal size made in different ways."""

from videox2l.evaluation.suites.run import Plan, run
from videox2l.evaluation.suites.tasks import SUITES

__all__ = ["SUITES", "Plan", "run"]
