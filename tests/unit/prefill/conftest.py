from __future__ import annotations

import sys

import pytest

import videox2l.prefill  # noqa: F401 -- so that its modules are there
from videox2l.video import decode_chunks, plan_video


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read videos in this process: starting a child for each takes longer than all the rest, and has its own tests."""
    for name in ("append", "ingest", "repair"):
        module = sys.modules[f"videox2l.prefill.{name}"]
        for attribute, function in (("plan_video_isolated", plan_video), ("decode_chunks_isolated", decode_chunks)):
            if hasattr(module, attribute):
                monkeypatch.setattr(module, attribute, function)
