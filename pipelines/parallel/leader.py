"""Rank 0 inside a process that does other work, too, and the other ranks in actors that follow it.

They live and die together: whatever makes one of them unusable ends this process, and with it the others, whose owner
it is. Ray then starts it again elsewhere or here, as it does for any process that is lost.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util.placement_group import get_current_placement_group

from pipelines.parallel.placement import in_bundle
from pipelines.parallel.rank import Rank, free_address
from videox2l.config import CompressionConfig
from videox2l.models import PrefillState, Timeline
from videox2l.models.retriever import Retriever
from videox2l.parallel import load_model_parallel, prefill_over_ranks
from videox2l.prefill import PrefillReport, Progress
from videox2l.store import IndexWriter
from videox2l.video import DecodedChunk

logger = logging.getLogger(__name__)

# An error that all ranks share reaches each of them at the next collective, of which a chunk has many. Longer than any
# chunk takes, also on a CPU: a rank that is only slow must not be taken for lost.
_GRACE_S = 60.0

# Between looks at the others: little beside what restarting costs.
_LOOK_EVERY_S = 0.5


class LeadingRank:
    """Loads a model over ``ranks`` processes of which this is the first. Runs in the first bundle of a placement group.

    ``model`` is rank 0's share of it. Calls come one at a time, from any thread.
    """

    def __init__(self, name: str, ranks: int, *, device: str, dtype: str | None, threads: int) -> None:
        """Other ranks get their whole bundles. Errors as of :func:`~videox2l.parallel.load_model_parallel`."""
        group = get_current_placement_group()
        assert group is not None, "a leading rank is scheduled into a placement group"
        self._others = [
            ray.remote(Rank)
            .options(num_cpus=bundle["CPU"], num_gpus=bundle.get("GPU", 0), scheduling_strategy=in_bundle(group, rank))
            .remote(rank, ranks, threads)
            for rank, bundle in enumerate(group.bundle_specs)
            if rank > 0
        ]
        address = free_address()
        with self._together("load", name, address, device, dtype):
            self.model = load_model_parallel(name, rank=0, ranks=ranks, address=address, device=device, dtype=dtype)

    def prefill_chunks(
        self,
        compression: CompressionConfig,
        decoded: Iterable[DecodedChunk],
        total: int,
        writer: IndexWriter,
        progress: Progress | None = None,
        resume: PrefillState | None = None,
        thumbnails: bool = True,
        timeline: Timeline | None = None,
        retriever: Retriever | None = None,
    ) -> PrefillReport:
        """As :func:`~videox2l.prefill.prefill_chunks`; ``retriever`` is on this rank alone."""
        with self._together("follow_prefill", compression, total):
            return prefill_over_ranks(
                self.model, compression, decoded, total, writer, progress, resume, thumbnails, timeline, retriever
            )

    @contextmanager
    def _together(self, method: str, *arguments: Any) -> Iterator[None]:
        """Runs ``method`` on the other ranks beside the block, which must do the same here."""
        calls = [getattr(other, method).remote(*arguments) for other in self._others]
        done = threading.Event()
        threading.Thread(target=self._watch, args=(calls, done), daemon=True, name="videox2l-ranks").start()
        mine: Exception | None = None
        try:
            yield
        except Exception as error:
            mine = error
            raise
        finally:
            done.set()
            self._settle(calls, mine)

    def _watch(self, calls: list[Any], done: threading.Event) -> None:
        """End this process if it waits in a collective for a rank that will not come."""
        failed_at: float | None = None
        while not done.wait(_LOOK_EVERY_S):
            ready, _ = ray.wait(calls, num_returns=len(calls), timeout=0)
            errors = [error for error in map(_error, ready) if error is not None]
            if any(isinstance(error, RayActorError) for error in errors):
                _end(errors)
            failed_at = failed_at or (time.monotonic() if errors else None)
            if failed_at is not None and time.monotonic() - failed_at > _GRACE_S:
                _end(errors)

    def _settle(self, calls: list[Any], mine: Exception | None) -> None:
        """The other ranks have come to the same end, or they are lost."""
        ready, late = ray.wait(calls, num_returns=len(calls), timeout=_GRACE_S)
        errors = [_error(call) for call in ready]
        causes = [error.cause if isinstance(error, RayTaskError) else error for error in errors]
        if late or any(type(cause) is not type(mine) for cause in causes):
            _end([error for error in (mine, *errors) if error is not None])


def _error(call: Any) -> RayError | None:
    try:
        ray.get(call)
    except RayError as error:
        return error
    return None


def _end(errors: Iterable[BaseException]) -> None:
    logger.error("the ranks of the model are out of step and all end: %s", "; ".join(map(str, errors)) or "one hangs")
    # Not an exception: the thread that would have to see it may be inside a collective, which nothing interrupts.
    os._exit(1)
