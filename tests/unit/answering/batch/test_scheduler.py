"""The model's thread: tokens come to whoever asked, places are given back, errors reach everybody they concern."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.unit.answering.batch.memories import alone, questions, random_memory, row
from videox2l.answering.batch import Scheduler
from videox2l.answering.batch.scheduler import Ticket
from videox2l.answering.stopwatch import Stopwatch
from videox2l.models import load_model
from videox2l.models.video_xl.model import VideoXL

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
