"""What workers of a batch tell of it."""

from __future__ import annotations

from pipelines.batch.tracker import Tracker
from videox2l.errors import ArchiveNotWritableError


def test_a_row_counts_once_and_an_answer_makes_up_for_an_error() -> None:
    tracker = Tracker()
    tracker.stored([1, 2], [3])
    tracker.stored([2, 3], [4])
    assert tracker.counts() == (4, 1)


def test_attempts_count_where_nothing_new_was_stored() -> None:
    tracker = Tracker()
    assert [tracker.attempt("a", 0), tracker.attempt("a", 0), tracker.attempt("b", 0), tracker.attempt("a", 5)] == [
        *(1, 2, 1, 1)
    ]


def test_the_first_reason_to_give_up_is_the_one_that_is_told() -> None:
    tracker = Tracker()
    assert (tracker.goes_on(), tracker.failure(), tracker.ready_ago()) == (True, None, 0.0)
    first = ArchiveNotWritableError("the disk is full")
    tracker.give_up(first)
    tracker.give_up(ArchiveNotWritableError("and still"))
    assert (tracker.goes_on(), tracker.failure()) == (False, first)
