"""The model's thread: tokens come to whoever asked, places are given back, errors reach everybody they concern."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.unit.answering.batch.memories import alone, questions, random_memory, row
from videox2l.answering.batch import Scheduler
from videox2l.answering.batch.scheduler import Ticket
from videox2l.answering.stopwatch import Stopwatch
from videox2l.models import load_model
from videox2l.models.video_xl.model import VideoXL
from videox2l.selection import QuestionContext

NO_STOP: frozenset[int] = frozenset()


def tokens(ticket: Ticket) -> list[int]:
    found: list[int] = []
    for _ in ticket.groups(found, Stopwatch()):
        pass
    return found


@pytest.fixture(scope="module")
def model() -> VideoXL:
    return load_model("tiny", device="cpu")


def test_threads_that_ask_at_once_get_what_each_gets_alone(model: VideoXL) -> None:
    memory = random_memory(model, 60)
    asked = list(questions(model, 6))
    with Scheduler(model, slots=3) as scheduler, ThreadPoolExecutor(6) as threads:
        tickets = list(threads.map(lambda ids: scheduler.submit(row(memory, ids), 12, NO_STOP), asked))
        found = list(threads.map(lambda ticket: tokens(ticket), tickets))
        assert found == [alone(model, memory, ids)[:12] for ids in asked]
        assert scheduler.tokens == 6 * 12
        assert (scheduler.running, scheduler.waiting) == (0, 0)


def test_a_stop_token_ends_an_answer_and_is_not_given_out(model: VideoXL) -> None:
    memory, [ids] = random_memory(model, 60), questions(model, 1)
    expected = alone(model, memory, ids)
    stop = next(token for token in expected if token != expected[0])
    with Scheduler(model) as scheduler:
        found = tokens(scheduler.submit(row(memory, ids), 40, frozenset({stop})))
    assert found == expected[: expected.index(stop)]


def test_whoever_leaves_makes_room(model: VideoXL) -> None:
    memory, [first, second] = random_memory(model, 60), questions(model, 2)
    with Scheduler(model, slots=1) as scheduler:
        endless = scheduler.submit(row(memory, first), 100_000, NO_STOP)
        next(endless.groups([], Stopwatch()))
        waiting = scheduler.submit(row(memory, second), 3, NO_STOP)
        endless.cancel()
        assert tokens(waiting) == alone(model, memory, second)[:3]
        deadline = time.monotonic() + 10
        while scheduler.running and time.monotonic() < deadline:
            time.sleep(0.01)
        assert scheduler.running == 0


def test_the_end_of_the_thread_is_heard_by_those_who_wait(model: VideoXL) -> None:
    memory, [ids] = random_memory(model, 60), questions(model, 1)
    scheduler = Scheduler(model)
    ticket = scheduler.submit(row(memory, ids), 100_000, NO_STOP)
    scheduler.close()
    with pytest.raises(RuntimeError, match="was ended"):
        tokens(ticket)
    with pytest.raises(RuntimeError, match="has ended"):
        scheduler.submit(row(memory, ids), 1, NO_STOP)


def ask_at_once(scheduler: Scheduler, contexts: Sequence[QuestionContext]) -> list[bool]:
    """Whether each, when its own work began, had its queries already; all wait before the first is taken on."""
    entered, go = threading.Event(), threading.Event()

    def hold() -> None:
        entered.set()
        go.wait(10)

    with ThreadPoolExecutor(len(contexts) + 1) as threads:
        blocker = threads.submit(scheduler.call, hold)
        entered.wait(10)
        found = [
            threads.submit(scheduler.call, lambda context=context: bool(context.queries), context)
            for context in contexts
        ]
        deadline = time.monotonic() + 10
        while len(scheduler._jobs) < len(contexts) and time.monotonic() < deadline:
            time.sleep(0.001)
        go.set()
        blocker.result()
        return [future.result() for future in found]


def contexts(model: VideoXL, count: int) -> list[QuestionContext]:
    memory = random_memory(model, 60)
    return [QuestionContext(model, ids, memory) for ids in questions(model, count)]


def test_questions_that_wait_look_at_their_gists_together_as_far_as_a_step_goes(model: VideoXL) -> None:
    asked = contexts(model, 4)
    with Scheduler(model, step_tokens=sum(len(context.question_ids) for context in asked[:3])) as scheduler:
        assert ask_at_once(scheduler, asked) == [True, True, True, False]


def test_what_fails_together_is_tried_by_each(model: VideoXL, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise MemoryError("too many at once")

    monkeypatch.setattr("videox2l.answering.batch.scheduler.share_queries", fail)
    with Scheduler(model) as scheduler:
        assert ask_at_once(scheduler, contexts(model, 2)) == [False, False]


def test_a_step_waits_for_questions_that_are_expected(model: VideoXL) -> None:
    memory, [first, second] = random_memory(model, 60), questions(model, 2)
    with Scheduler(model, slots=2, gather_s=60.0) as scheduler:
        scheduler.expect(2)
        early = scheduler.submit(row(memory, first), 3, NO_STOP)
        time.sleep(0.05)
        assert scheduler.running == 0
        late = scheduler.submit(row(memory, second), 3, NO_STOP)
        assert tokens(early) == alone(model, memory, first)[:3]
        scheduler.expect(-1)
        assert tokens(late) == alone(model, memory, second)[:3]


def test_a_question_that_does_not_come_is_waited_for_once(model: VideoXL) -> None:
    memory, [ids] = random_memory(model, 60), questions(model, 1)
    with Scheduler(model, slots=2, gather_s=0.5) as scheduler:
        scheduler.expect(2)
        began = time.monotonic()
        assert tokens(scheduler.submit(row(memory, ids), 40, NO_STOP)) == alone(model, memory, ids)[:40]
        assert time.monotonic() - began < 10  # 40 steps would have waited for 20 s


def test_an_answer_that_nobody_reads_along_comes_whole(model: VideoXL) -> None:
    memory, [ids] = random_memory(model, 60), questions(model, 1)
    with Scheduler(model) as scheduler:
        [group] = list(scheduler.submit(row(memory, ids), 40, NO_STOP, hurry=False).groups([], Stopwatch()))
    assert [pick.token for pick in group] == alone(model, memory, ids)[:40]
