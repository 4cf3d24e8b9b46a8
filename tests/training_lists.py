"""Short numbered clips and a list of questions and answers about them, for runs that train."""

from __future__ import annotations

import json
from pathlib import Path

from tests.unit.video.clips import regular, write_numbered_clip
from videox2l.config import SamplingConfig
from videox2l.training.vst.settings import VSTSettings

X264 = {"preset": "ultrafast", "g": "12", "threads": "1"}
FRAMES = {"short.mp4": 25, "medium.mp4": 45, "long.mp4": 70}
"""Frames at 10 frames/s; at 2 frames a second and 4 frames a chunk: 2, 3 and 4 chunks, of which the last is shorter."""

SETTINGS = VSTSettings(
    steps=6,
    batch=4,
    ratios=(2, 4, 8),
    learning_rate=3e-3,
    warmup_steps=2,
    weight_decay=0.01,
    questions=2,
    sampling=SamplingConfig(fps=2),
    frames_per_chunk=4,
)


def write_training_list(folder: Path) -> Path:
    """Three clips and eight rows, four examples of at most two questions."""
    rows = []
    for name, frames in FRAMES.items():
        write_numbered_clip(folder / name, pts=regular(frames), options=X264)
        rows += [
            {"video": name, "question": "How long is it?", "answer": f"{frames / 10:g} s"},
            {"video": name, "question": "Which clip is this?", "answer": name.removesuffix(".mp4")},
        ]
    rows += [{"video": "long.mp4", "question": f"Is it longer than {s} s?", "answer": "Yes"} for s in (3, 5)]
    path = folder / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
