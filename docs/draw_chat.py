"""Draw a conversation in the terminal: ``python docs/draw_chat.py [FILE.svg]`` runs one and keeps what it shows."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path

import pexpect
from rich.console import Console
from rich.text import Text

import videox2l
from videox2l.video.synthetic import HELD_OUT_SEED, SyntheticClip, name_of, render

WIDTH = 104
SCENE = 4
PROMPT = "\r\n> "

# What a spinner draws over itself, and what hides and shows the cursor.
_REDRAWN = re.compile(r"[^\n]*\n(?:\x1b\[\?25h)?\r?\x1b\[1A\x1b\[2K|[^\n]*\r\x1b\[2K|\x1b\[\?25[lh]")


def converse(folder: Path) -> str:
    """What a chat about a clip of 24 scenes shows, with its colours."""
    clip = SyntheticClip.from_seed(HELD_OUT_SEED + 7_000, 24)
    render(clip, folder / "clip.mp4")
    with videox2l.open(folder / "archive", create=True) as archive:
        archive.ingest(folder / "clip.mp4")
    lines = [
        f"What is the code in second 3 of the {name_of(clip.scenes[SCENE].key)} scene?",
        "/explain",
        f"Which scene comes right after the {name_of(clip.scenes[10].key)} scene?",
    ]
    shell = pexpect.spawn(
        sys.executable,
        ["-m", "pipelines.cli", "ask", "clip.mp4", "--archive", str(folder / "archive")],
        env={**os.environ, "TERM": "xterm-256color", "XDG_STATE_HOME": str(folder)},
        encoding="utf-8",
        dimensions=(50, WIDTH),
        timeout=60,
    )
    shell.expect_exact(PROMPT)
    shown = [shell.before or ""]
    for line in lines:
        shell.sendline(line)
        shell.expect_exact(PROMPT)
        shown.append(f"> {shell.before or ''}")
    shell.sendline("/quit")
    shell.expect(pexpect.EOF)
    return "\n".join(_REDRAWN.sub("", part.replace("\r\n", "\n")).strip("\r\n") for part in shown)


def main(target: Path) -> None:
    """Write the picture."""
    with tempfile.TemporaryDirectory() as folder:
        shown = converse(Path(folder))
    console = Console(record=True, width=WIDTH, force_terminal=True, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123
    console.print(Text("$ videox2l ask clip.mp4"))
    console.print(Text.from_ansi(shown))
    console.save_svg(str(target), title="videox2l ask")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "chat.svg")
