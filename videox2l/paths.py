"""Paths as people write them."""

from __future__ import annotations

from pathlib import Path


def expanded(path: str | Path) -> Path:
    """``path`` with the home folder that ``~`` stands for. That of a user whom the machine does not know is a name."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)
