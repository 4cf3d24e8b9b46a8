"""Paths as people write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from videox2l.paths import expanded


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("~/a.mp4", "/home/me/a.mp4"),
        ("a/~b", "a/~b"),
        ("/x", "/x"),
        ("~nobody-is-called-so/x", "~nobody-is-called-so/x"),
    ],
)
def test_expanded(monkeypatch: pytest.MonkeyPatch, written: str, meant: str) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert expanded(written) == Path(meant)
