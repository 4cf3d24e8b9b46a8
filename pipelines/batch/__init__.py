"""Batch: a table of questions about the videos of an archive, answered on Ray. :func:`batch` is the way in.

* ``questions.py`` reads the table, ``plan.py`` groups it by video, ``stage.py`` answers a video's questions together.
* ``parts.py`` keeps answers while the job runs, ``answers.py`` is their columns, ``output.py`` the finished file.
"""

from pipelines.batch.plan import Plan
from pipelines.batch.run import batch
from pipelines.batch.settings import BatchSettings
from pipelines.batch.summary import BatchSummary

__all__ = ["BatchSettings", "BatchSummary", "Plan", "batch"]
