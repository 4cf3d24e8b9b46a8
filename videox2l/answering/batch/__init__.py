"""Many questions decoded together: they join and leave at token steps, each over its own memory.

* ``attention.py``: attention of packed tokens, over segments that questions share and tails of their own.
* ``tails.py``: the buffers of those tails. ``rows.py``: questions in the batch. ``scheduler.py``: the model's thread.
"""

from videox2l.answering.batch.rows import Batch, Row
from videox2l.answering.batch.scheduler import Scheduler

__all__ = ["Batch", "Row", "Scheduler"]
