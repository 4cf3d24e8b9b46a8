"""Line editing for prompts, by the terminal library that Python comes with: history over sessions, and tab."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

try:
    import readline
except ImportError:  # Python for Windows comes without; its terminal edits lines by itself
    readline = None  # type: ignore[assignment]

_LINES = 1000


@contextmanager
def editing_lines(commands: Sequence[str], videos: Callable[[], list[str]]) -> Iterator[None]:
    """``input()`` with history; tab completes ``commands``, and behind ``/video`` the names of ``videos``."""
    if readline is None:
        yield
        return
    history = _history_file()
    try:
        readline.read_history_file(history)
    except OSError:
        readline.clear_history()  # none yet, or not to be read
    before, delimiters = readline.get_completer(), readline.get_completer_delims()
    readline.set_completer(_completer(commands, videos))
    readline.set_completer_delims("")  # a name may hold blanks
    readline.parse_and_bind("tab: complete")
    try:
        yield
    finally:
        readline.set_completer(before)
        readline.set_completer_delims(delimiters)
        readline.set_history_length(_LINES)
        try:
            history.parent.mkdir(parents=True, exist_ok=True)
            readline.write_history_file(history)
        except OSError:
            pass  # a home that cannot be written to costs the history, nothing else


def _completer(commands: Sequence[str], videos: Callable[[], list[str]]) -> Callable[[str, int], str | None]:
    found: list[str] = []

    def complete(text: str, number: int) -> str | None:
        if number == 0:
            known = [f"/video {name}" for name in videos()] if text.startswith("/video ") else commands
            found[:] = [option for option in known if option.startswith(text)]
        return found[number] if number < len(found) else None

    return complete


def _history_file() -> Path:
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return state / "videox2l" / "ask_history"
