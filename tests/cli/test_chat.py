"""``videox2l ask`` without a question, as a user meets it: a process of its own in a real terminal."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from tests.archives import random_index
from tests.unit.answering.by_hand import LOSSES
from videox2l import Archive
from videox2l.models.video_xl.model import VideoXL

PROMPT = "\r\n> "
MARKS = re.compile(r"^ +\^{4} +$", re.MULTILINE)


class Terminal:
    """A chat, and what it shows in answer to a line."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self.process = pexpect.spawn(
            sys.executable,
            ["-m", "pipelines.cli", "ask", *arguments],
            env={**os.environ, "TERM": "xterm-256color", **environment},
            encoding="utf-8",
            timeout=120,  # seconds: a machine that does much else starts Python slowly
            dimensions=(40, 100),
        )
        self.process.delaybeforesend = None
        self.process.expect_exact(PROMPT)
        self.greeting = self.process.before or ""

    def __call__(self, line: str) -> str:
        self.process.sendline(line)
        return self.until_prompt()

    def until_prompt(self) -> str:
        self.process.expect_exact(PROMPT)
        return self.process.before or ""

    def leave(self) -> int | None:
        self.process.expect(pexpect.EOF)
        self.process.close()
        status: int | None = self.process.exitstatus
        return status


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, random_model: VideoXL) -> Path:
    path = tmp_path_factory.mktemp("chat") / "archive"
    archive = Archive.open(path, create=True)
    random_index(archive, random_model, "lecture.mp4")
    LOSSES["removed by retention"][0](archive, random_index(archive, random_model, "old.mp4", seed=2).manifest)
    return path


@pytest.fixture
def options(archive: Path, random_checkpoint: Path) -> list[str]:
    # The random model does not end its answers: a second or so, long enough to be stopped.
    return ["--archive", str(archive), "--model", str(random_checkpoint), "--max-new-tokens", "1000"]


@pytest.fixture
def chat(options: list[str], tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal("lecture.mp4", *options, NO_COLOR="1", XDG_STATE_HOME=str(tmp_path))
    yield terminal
    terminal.process.close(force=True)


def test_a_session(chat: Terminal, tmp_path: Path) -> None:
    assert "lecture.mp4, 0:00:50.0, 5 chunks" in plain(chat.greeting)
    assert "/budget" in chat("/help")
    assert "nothing was asked yet" in chat("/spans")
    assert "nothing was asked yet" in chat("/explain")

    chat.process.sendline("What is it?")
    chat.process.expect("What is it\\?\r\n.+")  # the answer has begun
    chat.process.sendcontrol("c")
    assert "stopped" in chat.until_prompt()
    assert "nothing was asked yet" in chat("/spans")

    assert "select 1" in chat("/select 1")
    assert "part 0:10 to 0:20" in chat("/part 0:10 0:20")  # a small memory, so that the answer is short, too
    shown = plain(chat("What is it?"))
    assert re.search("^····████·{12}$", shown, re.MULTILINE)
    assert MARKS.search(shown)
    assert "in detail: 10.0–20.0 s (1 of 5 chunks)" in shown
    assert "read in detail" in plain(chat("/spans"))
    assert "without 10.0–20.0 s (chunk 1)" in plain(chat("/explain"))
    assert "\x1b[3" not in shown  # colours were refused

    for wrong, said in {
        "/nothing": "no command /nothing",
        "/select best": "neither",
        "/select 7": "do not exist",
        "/select all many": "no number",
        "/part early": "no time",
        "/budget 7": "no budget",
        "/video lectur.mp4": "lecture.mp4",
    }.items():
        assert said in plain(chat(wrong)), wrong

    assert "old.mp4" in chat("/video")
    assert "old.mp4, 0:00:50.0" in plain(chat("/video old.mp4"))
    assert "1 of 1 chosen chunks could not be read in detail" in plain(chat("What is it?"))
    assert "5 chunks" in plain(chat("/new"))
    assert "budget chunks=1,ms=500" in chat("/budget chunks=1 ms=500")
    assert "budget off; part the beginning" in chat("/budget off") + chat("/part off")

    chat.process.sendline("/quit")
    assert chat.leave() == 0
    assert "/budget off" in (tmp_path / "videox2l" / "ask_history").read_text()


def test_leaving_by_ctrl_c_and_choosing_a_video(options: list[str], tmp_path: Path) -> None:
    chat = Terminal(*options, XDG_STATE_HOME=str(tmp_path))
    try:
        assert "choose one: /video NAME" in chat.greeting  # the archive has two
        assert "choose a video first" in chat("What is it?")
        chat.process.send("half a line")
        # Python's line editing sees an interrupt that comes between two keys only with the next key.
        chat.process.expect_exact("half a line")
        time.sleep(0.2)
        chat.process.sendcontrol("c")
        assert "Ctrl-C again" in chat.until_prompt()
        assert "\x1b[1m" in chat("/video lecture.mp4")
        chat.process.sendcontrol("c")
        assert "Ctrl-C again" in chat.until_prompt()
        chat.process.sendcontrol("c")
        assert chat.leave() == 0
    finally:
        chat.process.close(force=True)


def plain(shown: str) -> str:
    """Without control sequences, lines ended as usual."""
    return re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", shown).replace("\r\n", "\n")
