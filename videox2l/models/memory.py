"""Whether a device has the memory that a prefill needs, known before anything is loaded, and what would fit.

What a prefill needs is each kind of model's own to say: it makes a :class:`Workload`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from videox2l.config import CompressionConfig
from videox2l.errors import InsufficientMemoryError

# Of what is free: the rest is for libraries' workspaces and for gaps between an allocator's blocks.
USABLE = 0.95

_MIB, _GIB = 2**20, 2**30


@dataclass(frozen=True, kw_only=True)
class Workload(ABC):
    """A prefill to be: ``videos`` at once, none longer than ``chunks`` (the prefill's ``expect`` was told so).

    ``ranks``: devices that hold the model together. What is counted is then the fullest one's.
    """

    compression: CompressionConfig
    dtype: torch.dtype
    chunks: int
    videos: int = 1
    ranks: int = 1

    @abstractmethod
    def weight_bytes(self) -> int:
        """Of the model's weights."""

    @abstractmethod
    def prefill_bytes(self, *, mask: bool) -> tuple[int, int]:
        """Of the memories of both passes, and of what runs through at the busiest moment.

        ``mask``: on a device where SDPA needs one written down (a CPU).
        """

    @property
    def rank_counts(self) -> Sequence[int]:
        """How many devices could hold the model together."""
        return (1,)


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes on the device: ``weights``, the ``memories`` of both passes, and what runs through (``working``)."""

    weights: int
    memories: int
    working: int

    @property
    def total(self) -> int:
        return self.weights + self.memories + self.working

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {_size(count)}" for name, count in vars(self).items() if count)
        return f"{_size(self.total)} ({parts})"


def required_bytes(work: Workload, *, mask: bool = False, loaded: bool = False) -> MemoryNeed:
    """The most that ``work`` holds at any time; without the weights, where they are ``loaded`` already."""
    memories, working = work.prefill_bytes(mask=mask)
    return MemoryNeed(0 if loaded else work.weight_bytes(), memories, working)


def check_fits(work: Workload, device: torch.device, *, loaded: bool = False, free: int | None = None) -> MemoryNeed:
    """Return what ``work`` needs; ``loaded`` says that the weights are on ``device`` already, ``free`` its free bytes.

    :raises InsufficientMemoryError: it does not fit. The message has the numbers, and what would fit.
    """
    free = free_bytes(device) if free is None else free
    need = required_bytes(work, mask=_needs_mask(device), loaded=loaded)
    if free is None or need.total <= USABLE * free:
        return need
    usable = int(USABLE * free)
    size = f"{work.chunks} {'chunk' if work.chunks == 1 else 'chunks'} of {work.compression.frames_per_chunk} frames"
    videos = "a video" if work.videos == 1 else f"{work.videos} videos at once"
    beside = " beside the weights" if loaded else ""
    where = str(device) if work.ranks == 1 else f"each of {work.ranks} devices ({device})"
    raise InsufficientMemoryError(
        f"a prefill of {videos} of {size} needs {need}{beside} on {where}, where {_size(usable)} can be used. "
        f"{_remedies(work, device, loaded, usable)}"
    )


def free_bytes(device: torch.device) -> int | None:
    """Memory that this process could still take on ``device``; ``None`` where the system does not say."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return _host_free_bytes() if device.type == "cpu" else None


def _size(count: int) -> str:
    return f"{count / _GIB:.1f} GiB" if count >= _GIB else f"{count / _MIB:.1f} MiB"


def _needs_mask(device: torch.device) -> bool:
    return device.type != "cuda"


def _remedies(work: Workload, device: torch.device, loaded: bool, usable: int) -> str:
    bases, mask = {"": work}, _needs_mask(device)
    if work.dtype == torch.float32 and not loaded:
        bases["bfloat16 and "] = replace(work, dtype=torch.bfloat16)
    for words, base in bases.items():
        found = [words + change for change in _smaller(base, device, loaded, usable)]
        if found:
            found += [] if loaded else _more_ranks(work, device, usable)
            return f"What would fit: {'; or '.join(found)}."
    least = replace(bases.popitem()[1], chunks=1, videos=1)
    instead = ["a larger device", *([] if loaded else _more_ranks(least, device, usable))]
    need = _size(required_bytes(least, mask=mask, loaded=loaded).total)
    even = "Even" if least.dtype == work.dtype else "Even in bfloat16"
    return f"{even} one chunk of one video needs {need}: take {', or '.join(instead)}."


def _smaller(work: Workload, device: torch.device, loaded: bool, usable: int) -> list[str]:
    """Changes of ``work`` that would each make it fit, in words."""
    weights, mask = 0 if loaded else work.weight_bytes(), _needs_mask(device)

    def fits(changed: Workload) -> bool:
        return weights + sum(changed.prefill_bytes(mask=mask)) <= usable

    found = []
    if work.videos > 1 and fits(replace(work, videos=1)):
        found.append("one video at a time")
    if work.chunks > 1 and fits(replace(work, chunks=1)):
        below, above = 1, work.chunks + 1
        while above - below > 1:
            middle = (below + above) // 2
            below, above = (middle, above) if fits(replace(work, chunks=middle)) else (below, middle)
        found.append(f"videos of up to {below} {'chunk' if below == 1 else 'chunks'}")
    for ratio in (4, 8, 16, 32):
        if ratio > work.compression.low_ratio:
            coarser = replace(work.compression, low_ratio=ratio, high_ratio=max(ratio, work.compression.high_ratio))
            if fits(replace(work, compression=coarser)):
                found.append(f"a low ratio of {ratio}")
                break
    return found


def _more_ranks(work: Workload, device: torch.device, usable: int) -> list[str]:
    """In words the fewest devices, more than now, that could do ``work`` together, if any number could."""
    for ranks in work.rank_counts:
        need = required_bytes(replace(work, ranks=ranks), mask=_needs_mask(device))
        if ranks > work.ranks and need.total <= usable:
            return [f"{ranks} such devices together (tensor parallelism)"]
    return []


def _host_free_bytes() -> int | None:
    """What the system and, in a container, its limit leave."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
        cached = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())["inactive_file"]
        return min(free, limit - used + int(cached))
    except (OSError, KeyError, ValueError):
        return free  # no limit, or cgroups of another version
