"""Reading a video in a process of its own.

Decoders are C code fed with files from anywhere: a damaged one can kill the process that reads it or keep it busy for
ever. In a child, both become an ordinary :class:`~videox2l.errors.VideoError`.

The child is a fresh interpreter and not a fork, which would be unsafe beside threads and fsspec's event loops; it does
not re-run the caller's main module, so scripts need no ``if __name__ == "__main__"``. Results come back through a
socket whose small buffer is the backpressure: the child is at most one item ahead.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from videox2l.config import SamplingConfig
from videox2l.errors import UnreadableVideoError, VideoX2LError
from videox2l.video.container import Source
from videox2l.video.decode import DecodedChunk, decode_chunks
from videox2l.video.frames import FrameFormat
from videox2l.video.plan import Chunk, VideoPlan, plan_video

Item = TypeVar("Item")

# Longest wait for a plan or for one chunk. Reading the index of a ten-hour file over a slow network takes minutes.
DEFAULT_TIMEOUT_S = 600.0


def plan_video_isolated(
    source: Source, sampling: SamplingConfig, frames_per_chunk: int, *, timeout_s: float = DEFAULT_TIMEOUT_S
) -> VideoPlan:
    """:func:`~videox2l.video.plan.plan_video` in a child process.

    Raises:
        VideoError: as there; also when the child dies, or takes longer than ``timeout_s`` seconds.
    """
    return next(run_isolated(_plan, source, sampling, frames_per_chunk, timeout_s=timeout_s))


def decode_chunks_isolated(
    source: Source, chunks: Sequence[Chunk], fmt: FrameFormat, *, timeout_s: float = DEFAULT_TIMEOUT_S
) -> Generator[DecodedChunk, None, None]:
    """:func:`~videox2l.video.decode.decode_chunks` in a child process.

    Raises:
        VideoError: as there; also when the child dies, or takes longer than ``timeout_s`` seconds for one chunk.
    """
    return run_isolated(decode_chunks, source, chunks, fmt, timeout_s=timeout_s)


def run_isolated(
    function: Callable[..., Iterable[Item]], source: Source, *args: Any, timeout_s: float = DEFAULT_TIMEOUT_S
) -> Generator[Item, None, None]:
    """Yield what ``function(source, *args)`` yields in a child process. ``function`` must be importable by its name.

    The child ends with the iterator, whether that is exhausted, closed or fails.

    Raises:
        VideoX2LError: raised by ``function``, unchanged; its other exceptions come as a RuntimeError.
        UnreadableVideoError: the child was killed, or was silent for ``timeout_s`` seconds; the message says which.
    """
    name = os.fspath(source)
    ours, theirs = socket.socketpair()
    with theirs:
        child = subprocess.Popen(
            [sys.executable, "-c", "from videox2l.video.isolated import _serve; _serve()", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            # The child must find the same modules, also those that a test runner put on the path.
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path or "." for path in sys.path)},
        )
    try:
        with Connection(ours.detach()) as connection:
            connection.send((function, source, args))
            while True:
                if not connection.poll(timeout_s):
                    raise UnreadableVideoError(f"reading {name} made no progress for {timeout_s:g} s and was given up")
                kind, value = connection.recv()
                if kind == "end":
                    return
                if kind == "error":
                    raise value
                yield value
    except (EOFError, ConnectionError) as error:
        raise UnreadableVideoError(_died(name, child)) from error
    finally:
        child.kill()
        child.wait()


def _plan(source: Source, sampling: SamplingConfig, frames_per_chunk: int) -> Iterator[VideoPlan]:
    yield plan_video(source, sampling, frames_per_chunk)


def _died(name: str, child: subprocess.Popen[bytes]) -> str:
    code = child.wait()
    how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit status {code}"
    return f"reading {name} ended the decoder's process {how}; the file is probably damaged: copy or download it again"


def _serve() -> None:
    """The child's side: run one function and send back what it yields."""
    with Connection(int(sys.argv[1])) as connection:
        try:
            function, source, args = connection.recv()
            for item in function(source, *args):
                connection.send(("item", item))
            connection.send(("end", None))
        except BrokenPipeError:  # The parent has lost interest.
            return
        except Exception as error:
            connection.send(("error", _sendable(error)))


def _sendable(error: Exception) -> Exception:
    """``error`` if it is the user's to read; of a bug the whole traceback, which pickling would lose."""
    if isinstance(error, VideoX2LError):
        return error
    return RuntimeError("in the decoder's process:\n" + "".join(traceback.format_exception(error)))
