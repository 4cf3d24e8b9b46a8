"""Models too large for one device: spread over ranks (tensor parallelism), or with their weights offloaded (ZeRO-3).

Needs DeepSpeed; no Ray. ``docs/large-models.md`` says when to use which.
"""

from videox2l.parallel import relevance as relevance  # registers its scorer
from videox2l.parallel.answering import HeadReader, ask_over_ranks, resident_over_ranks
from videox2l.parallel.ingest import ingest_over_ranks, join_over_ranks, prefill_over_ranks
from videox2l.parallel.model import ShardedVideoXL, load_model_parallel, load_share
from videox2l.parallel.offload import load_model_offloaded
from videox2l.parallel.ranks import Ranks, join_ranks, leave_ranks

__all__ = [
    "HeadReader",
    "Ranks",
    "ShardedVideoXL",
    "ask_over_ranks",
    "ingest_over_ranks",
    "join_over_ranks",
    "join_ranks",
    "leave_ranks",
    "load_model_offloaded",
    "load_model_parallel",
    "load_share",
    "prefill_over_ranks",
    "resident_over_ranks",
]
