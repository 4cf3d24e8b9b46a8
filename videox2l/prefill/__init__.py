"""From a video's frames to a committed index: the part of an ingest that is one video on one model.

:func:`ingest_video` and :func:`append_video` do it all in this process; the distributed ingest hands
:func:`prefill_chunks` frames that other processes decode. :func:`repair` makes damaged indexes anew.
"""

from videox2l.prefill.append import AppendError, append_video
from videox2l.prefill.chunks import PrefillReport, Progress, index_spec, prefill_chunks
from videox2l.prefill.ingest import ingest_video
from videox2l.prefill.repair import Repair, repair

__all__ = [
    "AppendError",
    "PrefillReport",
    "Progress",
    "Repair",
    "append_video",
    "index_spec",
    "ingest_video",
    "prefill_chunks",
    "repair",
]
