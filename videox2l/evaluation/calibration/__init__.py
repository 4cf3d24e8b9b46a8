"""Which settings of a model answer as it does over the whole, uncompressed video, and which of them reads the least.

:func:`measure` tries a :class:`Grid` on a few videos; :func:`calibrate` makes a recommendation of what it found.
"""

from videox2l.evaluation.calibration.choose import Wanted
from videox2l.evaluation.calibration.estimate import estimate_s
from videox2l.evaluation.calibration.grid import Grid, Setting
from videox2l.evaluation.calibration.measure import Measurement, Watched, measure, watch
from videox2l.evaluation.calibration.questions import GENERIC, Question, read_questions
from videox2l.evaluation.calibration.recommend import calibrate
from videox2l.evaluation.calibration.rendered import rendered_clips

__all__ = [
    "GENERIC",
    "Grid",
    "Measurement",
    "Question",
    "Setting",
    "Wanted",
    "Watched",
    "calibrate",
    "estimate_s",
    "measure",
    "read_questions",
    "rendered_clips",
    "watch",
]
