"""Whether a prefill worker's device has the memory for a model and for each video, said before any work is spent."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import ray
import torch

from videox2l.config import CompressionConfig
from videox2l.errors import ConfigError, InsufficientMemoryError
from videox2l.models.memory import Workload, check_fits, free_bytes
from videox2l.models.registry import placement, prefill_workload

if TYPE_CHECKING:
    from pipelines.ingest.job import ModelChoice


@dataclass(frozen=True)
class Share:
    """Of a device, what one prefill worker takes.

    ``gpus`` and ``cpus`` as Ray counts them; ``workers``: how many there are in the job; ``ranks``: of how many devices
    each is; ``limit_bytes``: what a worker may take, where the operator says so.
    """

    gpus: float
    cpus: float
    workers: int
    ranks: int = 1
    limit_bytes: int | None = None

    def of(self, free: int, node_cpus: float) -> int:
        """Bytes for one worker of a device with so many ``free``, on a machine with so many CPUs."""
        if self.limit_bytes is not None:
            return min(self.limit_bytes, free)
        # A machine's own memory is that of all workers, and of all their ranks, that it has the CPUs for.
        together = 1 / self.gpus if self.gpus > 0 else node_cpus / self.cpus
        ranks = 1 if self.gpus > 0 else self.ranks
        return free // max(1, min(int(together), self.workers)) // ranks


@dataclass(frozen=True)
class ActorMemory:
    """``free`` bytes for a worker on ``device``, weights included, and the shortest of prefills there."""

    work: Workload
    device: str
    free: int

    def check(self, chunks: int) -> None:
        """:raises InsufficientMemoryError: a video of so many chunks would not fit."""
        self._check(chunks, 1)

    def fits(self, chunks: int, videos: int) -> bool:
        """Whether so many videos of so many chunks each would fit at once."""
        try:
            self._check(chunks, videos)
        except InsufficientMemoryError:
            return False
        return True

    def _check(self, chunks: int, videos: int) -> None:
        work = dataclasses.replace(self.work, chunks=chunks, videos=videos)
        check_fits(work, torch.device(self.device), free=self.free)


def actor_memory(choice: ModelChoice, compression: CompressionConfig | None, share: Share) -> ActorMemory | None:
    """Look where a prefill worker would run, in this very process. None where the system does not say what is free.

    :raises ConfigError: its KV heads cannot be shared out to so many ranks.
    :raises InsufficientMemoryError: not even the shortest video would fit beside the weights.
    :raises ModelError: there is no such model, or its checkpoint is not sound.
    """
    device, dtype = placement(choice.device, choice.dtype)
    work = dataclasses.replace(prefill_workload(choice.name, compression, dtype), ranks=share.ranks)
    if share.ranks not in work.rank_counts:
        fitting = " or ".join(map(str, work.rank_counts))
        raise ConfigError(
            f"{choice.name} cannot be spread over {share.ranks} devices: its KV heads are shared out evenly, so use "
            f"{fitting}"
        )
    free = free_bytes(device)
    if free is None:
        return None
    memory = ActorMemory(work, device.type, share.of(free, _node_cpus()))
    try:
        memory.check(chunks=1)
    except InsufficientMemoryError as error:
        raise InsufficientMemoryError(f"{choice.name}: {error}") from None
    return memory


def _node_cpus() -> float:
    here = ray.get_runtime_context().get_node_id()
    cpus: float = next(node["Resources"].get("CPU", 1.0) for node in ray.nodes() if node["NodeID"] == here)
    return cpus
