"""What questions take in short forms."""

from __future__ import annotations

from videox2l.answering import TimeRange
from videox2l.answering.time_range import Moment
from videox2l.config import SelectionConfig


def as_selection(given: SelectionConfig | str | None) -> SelectionConfig | None:
    """A selection by its name."""
    return SelectionConfig(given) if isinstance(given, str) else given


def as_range(start: Moment | str | None, end: Moment | str | None) -> TimeRange | None:
    """``None`` for the whole video. Raises :class:`~videox2l.answering.TimeRangeError` for what is no time."""
    return None if start is None and end is None else TimeRange.parse(start, end)
