"""A model over several actors, used like one: every call goes to all ranks, and rank 0's result comes back.

The ranks of a group live and die together. One that is lost leaves the others inside a collective that nobody will
answer, so the whole group is ended then, and the error says which rank it was.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util.placement_group import remove_placement_group

from pipelines.parallel.placement import START_TIMEOUT_S, in_bundle, place_ranks
from pipelines.parallel.rank import Rank
from videox2l.answering import Answer, TimeRange
from videox2l.config import CompressionConfig, GenerationConfig, SamplingConfig, SelectionConfig
from videox2l.errors import VideoX2LError
from videox2l.identity import VideoIdentity

logger = logging.getLogger(__name__)

# Ranks that fail together do so within moments of each other; whoever is still busy after this waits for a lost one.
_GRACE_S = 5.0


class RanksLostError(VideoX2LError):
    """A rank died or failed alone; the group that it belonged to was ended."""

    http_status: ClassVar[int] = 503


class ParallelModel:
    """``ranks`` actors that hold one model. Ray must be running; a context manager that ends them.

    Not for several threads: the ranks work on one call at a time.
    """

    def __init__(
        self,
        model: str,
        *,
        ranks: int,
        device: str | None = None,
        dtype: str | None = None,
        cpus_per_rank: float = 1,
        strategy: str = "STRICT_PACK",
        start_timeout_s: float = START_TIMEOUT_S,
        fixed_cluster: bool = False,
    ) -> None:
        """Place the ranks and load the model.

        :param model: name as of :func:`~videox2l.models.load_model`; a folder must be there on every machine.
        :param device: ``cuda`` (a GPU for each rank) or ``cpu``; by default GPUs where the cluster has any.
        :param strategy: of the placement group. By default all ranks share a machine, since they exchange activations
            twice a layer; ``PACK`` lets them spread where one machine does not have the GPUs.
        :param start_timeout_s: for the resources to be there, which on a cluster that grows includes new machines.
        :param fixed_cluster: it does not grow: what it does not have is not waited for.
        :raises ConfigError: not so many ranks fit the model, or the cluster.
        :raises ModelError: the model cannot be loaded.
        """
        kind = device or ("cuda" if ray.cluster_resources().get("GPU") else "cpu")
        bundle = {"CPU": cpus_per_rank, **({"GPU": 1.0} if kind == "cuda" else {})}
        self._ranks = ranks
        self._actors: list[Any] = []
        self._group: Any = place_ranks(bundle, ranks, strategy, start_timeout_s, fixed=fixed_cluster)
        try:
            self._actors = [self._start(rank, bundle) for rank in range(ranks)]
            address = ray.get(self._actors[0].address.remote())
            self._call("load", model, address, kind, dtype)
        except BaseException:
            self.close()
            raise

    def ingest(
        self,
        source: str | Path,
        archive_url: str,
        *,
        sampling: SamplingConfig | None = None,
        compression: CompressionConfig | None = None,
        replace: bool = False,
        storage_options: Mapping[str, Any] | None = None,
    ) -> tuple[VideoIdentity, bool]:
        """As :func:`~videox2l.prefill.ingest_video`, into an archive that is made if there is none.

        ``source`` and ``archive_url`` are opened on rank 0's machine. Returns which video it is, and whether it was
        prefilled: ``False`` where the archive has it already.

        :raises VideoX2LError: as there; the group can go on with other videos.
        :raises RanksLostError: the group is gone.
        """
        return self._call("ingest", str(archive_url), storage_options, source, sampling, compression, replace)

    def find(
        self,
        source: str | Path,
        archive_url: str,
        *,
        sampling: SamplingConfig,
        compression: CompressionConfig | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> tuple[str, str] | None:
        """Video id and index fingerprint of what the archive has of this file, model and settings, if it has it.

        However its KVs are encoded; see :meth:`~videox2l.store.Archive.find_index`. Errors as of :meth:`ingest`.
        """
        return self._call("find", str(archive_url), storage_options, source, sampling, compression)

    def ask(
        self,
        video: str,
        question: str,
        archive_url: str,
        *,
        selection: SelectionConfig | None = None,
        generation: GenerationConfig | None = None,
        time_range: TimeRange | None = None,
        index_fp: str | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> Answer:
        """As :func:`~videox2l.answering.ask`; the archive must be in reach of every rank.

        ``index_fp``: of several indexes that this model made of the video, the one to ask.

        High KVs stay resident until another video is asked about. ``receipt.bytes_read`` counts what rank 0 has read;
        every rank reads as much. Errors as of :meth:`ingest`.
        """
        return self._call(
            "ask", str(archive_url), storage_options, video, index_fp, question, selection, generation, time_range
        )

    def close(self) -> None:
        """End all ranks. Safe to call again."""
        for actor in self._actors:
            ray.kill(actor)
        self._actors = []
        if self._group is not None:
            remove_placement_group(self._group)
            self._group = None

    def __enter__(self) -> ParallelModel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _start(self, rank: int, bundle: Mapping[str, float]) -> Any:
        options = {
            "num_cpus": bundle["CPU"],
            "num_gpus": bundle.get("GPU", 0),
            "scheduling_strategy": in_bundle(self._group, rank),
        }
        return ray.remote(Rank).options(**options).remote(rank, self._ranks)

    def _call(self, method: str, *arguments: Any) -> Any:
        if not self._actors:
            raise RanksLostError("this group of ranks has ended: start another one")
        results, errors = self._collect(
            {getattr(actor, method).remote(*arguments): rank for rank, actor in enumerate(self._actors)}
        )
        if not errors:
            return results[0]
        causes = [error.cause if isinstance(error, RayTaskError) else error for error in errors.values()]
        if len(errors) == self._ranks and all(isinstance(cause, VideoX2LError) for cause in causes):
            raise causes[0]  # all agree: a user's error, and they are still in step
        self.close()
        raise self._loss(errors) from next(iter(causes))

    def _collect(self, pending: dict[Any, int]) -> tuple[dict[int, Any], dict[int, RayError]]:
        """Results and errors by rank, in the order they came; of ranks that hang behind a failed one, neither."""
        results: dict[int, Any] = {}
        errors: dict[int, RayError] = {}
        deadline: float | None = None
        while pending:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            done, _ = ray.wait(list(pending), num_returns=1, timeout=left)
            if not done:
                break
            rank = pending.pop(done[0])
            try:
                results[rank] = ray.get(done[0])
            except RayError as error:
                errors[rank] = error
                deadline = deadline or time.monotonic() + _GRACE_S
        return results, errors

    def _loss(self, errors: Mapping[int, RayError]) -> RanksLostError:
        """In words; a rank that died is the cause of errors on the others, however late its death becomes known."""
        dead = [rank for rank, error in errors.items() if isinstance(error, RayActorError)]
        rank = dead[0] if dead else next(iter(errors))
        what = "died" if dead else "failed"
        last_line = str(errors[rank]).strip().splitlines()[-1]
        return RanksLostError(
            f"rank {rank} of {self._ranks} {what} ({last_line}), and all ranks of the model were ended. What was being "
            "done is lost, what was committed is not: start the model again"
        )
