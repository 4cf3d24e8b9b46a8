"""What a suite compresses is what an ingest of the same clip would store, for models that are told times too."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import numpy as np
import pytest

from tests.plain_checkpoints import SETTINGS, write_plain_checkpoint
from tests.unit.store.samples import assert_same
from videox2l.config import CompressionConfig, SamplingConfig
from videox2l.evaluation.suites.clips import levels
from videox2l.evaluation.suites.footage import FIRST_SEED, film
from videox2l.models import load_model
from videox2l.prefill import ingest_video
from videox2l.store import Archive
from videox2l.video.synthetic import SECONDS_PER_SCENE, SyntheticClip, render


@pytest.mark.parametrize("family", ["smolvlm", "qwen2_5_vl", "qwen3_vl", "llava_onevision"])
def test_the_kvs_of_a_clip_are_those_of_its_ingest(family: str, tmp_path: Path) -> None:
    checkpoint = write_plain_checkpoint(tmp_path / "checkpoint", family)
    model = load_model(str(checkpoint) + SETTINGS.get(family, ""), device="cpu")
    compression = CompressionConfig(low_ratio=2, high_ratio=4, frames_per_chunk=SECONDS_PER_SCENE)
    content = SyntheticClip.from_seed(FIRST_SEED, 2)
    footage = film(model, scenes=2, reels=1)
    clips = (footage.compose(2, np.random.default_rng(seed)) for seed in count())
    clip = next(clip for clip in clips if clip.content.scenes == content.scenes)
    prompt, (low,), (high,) = levels(model, [clip], compression)

    render(content, tmp_path / "reel.mp4", fps=2)
    archive = Archive.open(tmp_path / "archive", create=True)
    identity, _ = ingest_video(
        model, archive, tmp_path / "reel.mp4", sampling=SamplingConfig(), compression=compression
    )
    stored = archive.open_index(identity.video_id)
    assert_same(prompt, stored.prompt())
    for chunk, kv in enumerate(stored.high()):
        assert_same(high[chunk], kv)
        assert_same(low[chunk], stored.low(chunk))
