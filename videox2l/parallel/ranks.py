"""The processes that share one model, a *rank* each, and how they stay in step.

All ranks run the same program (SPMD) and meet in collectives. A rank that fails between two of them would leave the
others waiting, and one that reads something else than the others would go on to a wrong answer. So whatever may fail or
differ on one rank only, reading, decoding, writing, runs through :meth:`Ranks.lead` or :meth:`Ranks.together`.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, TypeVar

import torch
import torch.distributed as dist

from videox2l.errors import ConfigError, ModelError

T = TypeVar("T")

logger = logging.getLogger(__name__)

# How long a collective waits for a rank that neither arrives nor closes its connection. Longer than rank 0 needs to
# read the largest video from a slow storage, to know which it is; a rank that dies is noticed at once.
_PATIENCE = timedelta(hours=2)

# Until all processes have started; loading libraries from a network drive can take minutes.
_MEETING = timedelta(minutes=10)


@dataclass(frozen=True)
class Ranks:
    """This process's place among ``count`` ranks, and the ``device`` of its share. Made by :func:`join_ranks`.

    Every method is a collective: all ranks call it, in the same order.
    """

    rank: int
    count: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this is rank 0, which decodes, writes and gives the result."""
        return self.rank == 0

    def lead(self, action: Callable[[], T]) -> T:
        """Run ``action`` on rank 0 alone; its result, which must pickle, or its error on every rank."""
        if self.count == 1:
            return action()
        outcome, message = _packed(_attempt(action)) if self.leads else (None, b"")
        received = [message]
        dist.broadcast_object_list(received, src=0, device=torch.device("cpu"))
        # Rank 0 goes on with its own result, not with a copy of it, and with the traceback of its own error.
        return (outcome or pickle.loads(received[0])).unwrap(0)

    def together(self, action: Callable[[], T]) -> T:
        """Run ``action`` on every rank and return its own result on each; if one fails, all raise that error."""
        outcome = _attempt(action)
        errors = self.exchange(outcome.error)
        for rank, error in enumerate(errors):
            if error is not None:
                (outcome if rank == self.rank else _Outcome(error=error)).unwrap(rank)
        return outcome.unwrap(self.rank)

    def exchange(self, item: T) -> list[T]:
        """Every rank's ``item``, in the order of the ranks."""
        if self.count == 1:
            return [item]
        items: list[Any] = [None] * self.count
        dist.all_gather_object(items, item)
        return items

    @torch.inference_mode()
    def add(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum of all ranks' ``tensor``, in place: the same bits on every rank."""
        if self.count > 1:
            dist.all_reduce(tensor)
        return tensor

    @torch.inference_mode()
    def broadcast(self, tensor: torch.Tensor) -> torch.Tensor:
        """Rank 0's ``tensor``, written into the others'."""
        if self.count > 1:
            dist.broadcast(tensor, src=0)
        return tensor

    @torch.inference_mode()
    def gather(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        """On rank 0 every rank's ``tensor``, all of one shape; nothing on the others."""
        if self.count == 1:
            return [tensor]
        tensor = tensor.contiguous()
        parts = [torch.empty_like(tensor) for _ in range(self.count)] if self.leads else []
        dist.gather(tensor, parts or None, dst=0)
        return parts


def join_ranks(rank: int, ranks: int, *, address: str = "", device: torch.device | str = "cpu") -> Ranks:
    """Meet the other processes at ``address``, ``host:port`` on the machine of rank 0. Once a process.

    Collectives run over gloo for CPU tensors and NCCL for CUDA tensors; the latter needs GPUs and was not tested.
    :func:`leave_ranks` ends it.

    :raises ConfigError: there is no such rank, or they do not meet at ``address``.
    """
    device = torch.device(device)
    if not 0 <= rank < ranks:
        raise ConfigError(f"there is no rank {rank} of {ranks}: ranks count from 0")
    if ranks == 1:
        return Ranks(rank, ranks, device)
    if not address:
        raise ConfigError(f"{ranks} ranks need an address to meet at: host:port on rank 0's machine")
    if dist.is_initialized():
        raise ConfigError("this process has joined ranks before: load a model over ranks in a process of its own")
    if device.type == "cuda":
        device = torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index)
        torch.cuda.set_device(device)
    dist.init_process_group(
        "gloo" if device.type == "cpu" else "cpu:gloo,cuda:nccl",
        store=_meet(rank, ranks, address),
        rank=rank,
        world_size=ranks,
        timeout=_PATIENCE,
    )
    return Ranks(rank, ranks, device)


def _meet(rank: int, ranks: int, address: str) -> dist.TCPStore:
    host, _, port = address.rpartition(":")
    try:
        return dist.TCPStore(host, int(port), ranks, is_master=rank == 0, timeout=_MEETING)
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"rank {rank} of {ranks} did not meet the others at {address!r}: {error}. It must be host:port of rank 0's "
            "machine, free there and in reach of the others"
        ) from error


def leave_ranks() -> None:
    """Close the connections to the other ranks, if there are any."""
    if dist.is_initialized():
        dist.destroy_process_group()


@dataclass(frozen=True)
class _Outcome(Generic[T]):
    """What came of an action on one rank; travels to the others by pickle."""

    result: T | None = None
    error: Exception | None = None

    def unwrap(self, rank: int) -> T:
        if self.error is not None:
            self.error.add_note(f"on rank {rank}")
            raise self.error
        return self.result  # type: ignore[return-value]


def _attempt(action: Callable[[], T]) -> _Outcome[T]:
    try:
        return _Outcome(action())
    except Exception as error:
        return _Outcome(error=_portable(error))


def _packed(outcome: _Outcome[T]) -> tuple[_Outcome[T], bytes]:
    """Pickled before anything is sent: an error while sending would leave the other ranks waiting."""
    try:
        return outcome, pickle.dumps(outcome)
    except Exception as error:
        unsendable = _Outcome[T](error=ModelError(f"rank 0's result cannot be sent to the others: {error}"))
        return unsendable, pickle.dumps(unsendable)


def _portable(error: Exception) -> Exception:
    """``error``, or where pickle does not bring it over whole, its words in an error that does."""
    try:
        if type(pickle.loads(pickle.dumps(error))) is type(error):
            return error
    except Exception as obstacle:  # whatever pickle or the error's own constructor raises
        logger.debug("%s does not pickle: %s", type(error).__name__, obstacle)
    words = ModelError(f"{type(error).__name__}: {error}")
    words.__cause__ = error
    return words
