"""Processes that hold a model together and run what a test sends them, all in step."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch

from videox2l.parallel import Ranks, join_ranks, leave_ranks

# Without an answer for so long a rank hangs. Generous, as the machine may do other work.
PATIENCE_S = 60.0

# A rank that is through ends at once.
_GRACE_S = 5.0

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.unit.parallel.preload"])


class RankProcesses:
    """``count`` ranks. A program is a function of a module, called as ``program(ranks, *arguments)``."""

    def __init__(self, count: int) -> None:
        address = f"127.0.0.1:{free_port()}"
        self._pipes, self._processes = [], []
        for rank in range(count):
            ours, theirs = _context.Pipe()
            process = _context.Process(target=_serve, args=(rank, count, address, theirs), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    def run(self, program: Callable[..., Any], *arguments: Any) -> list[Any]:
        """What ``program`` returned on each rank, or the error that it raised there. ``arguments`` are the same."""
        for rank in range(len(self._pipes)):
            self.send(rank, program, *arguments)
        return [self.answer(rank) for rank in range(len(self._pipes))]

    def send(self, rank: int, program: Callable[..., Any], *arguments: Any) -> None:
        self._pipes[rank].send((program, arguments))

    def answer(self, rank: int) -> Any:
        if not self._pipes[rank].poll(PATIENCE_S):
            self.close()  # or every test that follows would wait as long
            raise TimeoutError(f"rank {rank} hangs")
        return self._pipes[rank].recv()

    def kill(self, rank: int) -> None:
        pid = self._processes[rank].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        self._processes[rank].join()

    def close(self) -> None:
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join(_GRACE_S)
            if process.is_alive():
                process.kill()
                process.join()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def _serve(rank: int, count: int, address: str, pipe: Connection) -> None:
    torch.set_num_threads(1)
    ranks: Ranks = join_ranks(rank, count, address=address)
    while True:
        try:
            program, arguments = pipe.recv()
        except EOFError:
            break
        try:
            pipe.send(program(ranks, *arguments))
        except Exception as error:
            pipe.send(error)
    leave_ranks()
