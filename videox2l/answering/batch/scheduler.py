"""The thread that owns a model: between its steps questions join, leave, and have the model work for them."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import TypeVar

from videox2l.answering.batch.rows import Batch, Row
from videox2l.answering.batch.tails import TailSegment
from videox2l.answering.sampling import Pick
from videox2l.answering.stopwatch import Stopwatch
from videox2l.models import KVCompressibleModel
from videox2l.selection import QuestionContext, share_queries

T = TypeVar("T")

logger = logging.getLogger(__name__)

# Tokens are handed over in groups, because waking a reader costs as much as a step of a small model. The first comes at
# once; 50 ms are below what a reader notices.
GROUP = 16
LINGER_S = 0.05


class Ticket:
    """A question that waits for the model or has a place in its batch. It gives :meth:`groups`, and then :attr:`kvs`.

    ``limit``: tokens of the answer at most. ``stop``: tokens that end it and are not given out. ``hurry``: give tokens
    out before the answer has ended.
    """

    def __init__(self, row: Row, limit: int, stop: frozenset[int], wake: Callable[[], None], *, hurry: bool) -> None:
        self.row, self.limit, self.stop = row, limit, stop
        self.cancelled = False
        self.started: float | None = None
        """When it got its place in the batch, by ``time.perf_counter()``."""
        self.kvs: TailSegment | None = None
        """KVs of its tokens and of the answer's, but for the last: there once it has ended and was not cancelled."""
        self.tokens = 0
        self._wake, self._hurry = wake, hurry
        self._group: list[Pick] = []
        self._due = 0.0
        self._out: queue.SimpleQueue[list[Pick] | BaseException | None] = queue.SimpleQueue()

    def groups(self, into: list[int], watch: Stopwatch) -> Iterator[list[Pick]]:
        """The tokens as they come, also put ``into`` a list; the time until it got its place is booked as ``slot``.

        Raises what ended the model's work, if it was no regular end.
        """
        while (group := self._out.get()) is not None:
            if isinstance(group, BaseException):
                raise group
            if not into and self.started is not None:
                watch.lap("slot", self.started)
            into += [pick.token for pick in group]
            yield group

    def cancel(self) -> None:
        """Free its place at the next step. Does nothing to a question that has ended."""
        self.cancelled = True
        self._wake()

    def give(self, pick: Pick) -> bool:
        """Take in the next token; whether the answer ends with it. Called by the model's thread, as the rest below."""
        if pick.token in self.stop:
            return True
        self.tokens += 1
        self._group.append(pick)
        now = time.monotonic()
        if self._hurry and (len(self._group) >= GROUP or now >= self._due):
            self._flush()
            self._due = now + LINGER_S
        return self.tokens == self.limit

    def end(self, how: BaseException | None = None) -> None:
        self._flush()
        self._out.put(how)

    def _flush(self) -> None:
        if self._group:
            self._out.put(self._group)
            self._group = []


@dataclass(frozen=True)
class _Job:
    """Work for the model's thread. Jobs with a ``context`` that wait at the same time look at their gists together."""

    work: Callable[[], object]
    context: QuestionContext | None
    future: Future[object]

    def run(self) -> None:
        try:
            result = self.work()
        except BaseException as error:
            self.future.set_exception(error)
        else:
            self.future.set_result(result)


class Scheduler:
    """Runs a :class:`Batch` in a thread of its own, which alone calls the model. A context manager that ends it.

    ``gather_s``: how long a step waits for questions that are expected and have not come, while there is room for them.
    """

    def __init__(
        self, model: KVCompressibleModel, *, slots: int = 16, step_tokens: int = 256, gather_s: float = 0.0
    ) -> None:
        self._batch = Batch(model, slots, step_tokens)
        self._slots, self._step_tokens, self._gather_s = slots, step_tokens, gather_s
        self._expected = 0
        self._late = 0
        self._changed = threading.Condition()
        self._jobs: deque[_Job] = deque()
        self._waiting: deque[Ticket] = deque()
        self._running: dict[Row, Ticket] = {}
        self._closed = False
        self.tokens = 0
        """Given out since the start."""
        self._thread = threading.Thread(target=self._run, name="videox2l-model", daemon=True)
        self._thread.start()

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Questions that are ready and have no place in the batch yet."""
        return len(self._waiting)

    def expect(self, questions: int) -> None:
        """So many more questions are asked now, or, below 0, have had their answers."""
        with self._changed:
            self._expected += questions
            self._changed.notify()

    def call(self, work: Callable[[], T], context: QuestionContext | None = None) -> T:
        """Run ``work`` between two steps, in the model's thread, and wait for it; raises what it raises.

        ``context``: of a question whose chunks ``work`` rates by its queries; these are computed for all that wait.
        """
        future: Future[T] = Future()
        with self._changed:
            self._check_open()
            self._jobs.append(_Job(work, context, future))  # type: ignore[arg-type]
            self._changed.notify()
        return future.result()

    def submit(self, row: Row, limit: int, stop: frozenset[int], *, hurry: bool = True) -> Ticket:
        """Let ``row`` join the batch as soon as it has a place."""
        ticket = Ticket(row, limit, stop, self._wake, hurry=hurry)
        with self._changed:
            self._check_open()
            self._waiting.append(ticket)
            self._changed.notify()
        return ticket

    def close(self) -> None:
        """End the thread; questions under way raise."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def __enter__(self) -> Scheduler:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("the model's thread has ended")

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._closed or self._jobs or self._waiting or self._running):
                    self._changed.wait()
                if self._closed:
                    break
                self._gather()
                jobs = self._next_jobs()
            if len(jobs) > 1:
                _share_queries(jobs)
            for job in jobs:
                job.run()
            try:
                self._leave()
                self._join()
                self._step()
            except BaseException as error:  # whoever asks hears of it, and the next question finds a working model
                self._fail(error)
        self._fail(RuntimeError("the model's thread was ended"))

    def _gather(self) -> None:
        """Wait for questions that are expected: what they do together costs little more than what one does.

        Those that were waited for in vain, such as for slow storage, are not waited for again.
        """
        deadline = time.monotonic() + self._gather_s
        while (absent := self._absent()) > self._late and not self._closed:
            if (left_s := deadline - time.monotonic()) <= 0:
                self._late = absent
                return
            self._changed.wait(left_s)
        self._late = min(self._late, absent)

    def _absent(self) -> int:
        here = len(self._jobs) + len(self._waiting) + len(self._running)
        return max(0, min(self._slots, self._expected) - here)

    def _next_jobs(self) -> list[_Job]:
        """One a step, so that answers beside it go on; or as many that share their work as a step has tokens."""
        jobs: list[_Job] = []
        budget = self._step_tokens
        while self._jobs:
            context = self._jobs[0].context
            budget -= 0 if context is None else len(context.question_ids)
            if jobs and (context is None or budget < 0):
                break
            jobs.append(self._jobs.popleft())
            if context is None:
                break
        return jobs

    def _leave(self) -> None:
        for ticket in [ticket for ticket in self._running.values() if ticket.cancelled]:
            self._batch.remove(ticket.row)
            self._end(ticket)

    def _join(self) -> None:
        with self._changed:
            while self._waiting and not self._batch.full:
                ticket = self._waiting.popleft()
                if ticket.cancelled:
                    ticket.end()
                    continue
                self._batch.add(ticket.row)
                self._running[ticket.row] = ticket
                ticket.started = time.perf_counter()

    def _step(self) -> None:
        for row, pick in self._batch.step():
            ticket = self._running[row]
            before = ticket.tokens
            ended = ticket.give(pick)
            self.tokens += ticket.tokens - before
            if ended:
                ticket.kvs = self._batch.remove(row)
                self._end(ticket)

    def _end(self, ticket: Ticket) -> None:
        del self._running[ticket.row]
        ticket.end()

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            tickets = [*self._running.values()]
            if self._closed:
                tickets += self._waiting
                self._waiting.clear()
                while self._jobs:
                    self._jobs.popleft().future.set_exception(error)
        self._batch.clear()
        self._running.clear()
        for ticket in tickets:
            ticket.end(error)


def _share_queries(jobs: Sequence[_Job]) -> None:
    try:
        share_queries([job.context for job in jobs if job.context is not None])
    except Exception:  # what is wrong with one of them, or was too much at once, each meets by itself
        logger.warning("Questions could not be rated together; each is by itself", exc_info=True)
