"""What an ingest will cost: the arithmetic by hand, the measuring on a real model, both in a dry run."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from rich.console import Console

from pipelines.ingest import IngestSettings, ingest
from pipelines.ingest.calibration import measure
from pipelines.ingest.estimate import (
    Calibration,
    Costs,
    Line,
    Prices,
    VideoSize,
    direct_s,
    estimate,
    pays_off_after,
    prefill_s,
    question_s,
)
from videox2l.config import CompressionConfig, SamplingConfig
from videox2l.models import KVCompressibleModel

COMPRESSION = CompressionConfig(low_ratio=2, high_ratio=8, frames_per_chunk=10)
TOKENS = 4  # a frame; so a chunk of 10 frames has 40, of which the levels keep 20 and 5

COSTS = Costs(frame_s=0.1, token_s=0.01, pair_s=0.001, question=Line(1.0, 0.01), answer=Line(0.5, 0.01))
VIDEO = VideoSize(chunks=4, kept=0, frames=40, duration_s=1800, low_bytes=4 * 10**9, high_bytes=10**9)


def test_prefill_by_hand():
    # Rows of a pass over a chunk: 40 + 20 = 60 low, 40 + 5 = 45 high. Memory before chunks 0 … 3: 0, 20, 40, 60 tokens
    # (sum 120) low, 0, 5, 10, 15 (sum 30) high.
    vision = 40 * 0.1
    low = 4 * 60 * 0.01 + 60 * 120 * 0.001
    high = 4 * 45 * 0.01 + 45 * 30 * 0.001
    assert prefill_s(VIDEO, COMPRESSION, TOKENS, COSTS) == pytest.approx(vision + low + high)


def test_a_single_pass_by_hand():
    # Rows of a chunk: 20 VSTs low, 40 + 5 = 45 high. Memories as above.
    single = dataclasses.replace(COMPRESSION, prefill="single-pass")
    expected = 40 * 0.1 + 4 * (20 + 45) * 0.01 + (20 * 120 + 45 * 30) * 0.001
    assert prefill_s(VIDEO, single, TOKENS, COSTS) == pytest.approx(expected)


def test_a_recording_that_goes_on_by_hand():
    # Chunks 2 and 3, with 40 + 60 = 100 low and 10 + 15 = 25 high tokens before them.
    grown = dataclasses.replace(VIDEO, kept=2, frames=20)
    expected = 20 * 0.1 + 2 * (60 + 45) * 0.01 + (60 * 100 + 45 * 25) * 0.001
    assert prefill_s(grown, COMPRESSION, TOKENS, COSTS) == pytest.approx(expected)


def test_questions_by_hand():
    # Directly: the low pass, then an answer over 4 · 20 = 80 tokens.
    assert direct_s(VIDEO, COMPRESSION, TOKENS, COSTS) == pytest.approx(4 + 2.4 + 7.2 + 0.5 + 0.8)
    # From KVs: two of four chunks at low compression, 2 · 20 + 2 · 5 = 50 tokens; 1 GB high and half of 4 GB low.
    assert question_s(VIDEO, COMPRESSION, TOKENS, COSTS) == pytest.approx(3 * 10**9 / 500e6 + 1 + 0.5)
    # A video of one chunk has no second one to load.
    one = VideoSize(1, 0, 10, 10, 10**9, 10**9)
    assert question_s(one, COMPRESSION, TOKENS, COSTS) == pytest.approx(2 * 10**9 / 500e6 + 1 + 0.2)


@pytest.mark.parametrize(
    ("once", "question", "direct", "expected"),
    [(10, 1, 3, 5), (11, 1, 3, 6), (0, 1, 3, 0), (10, 3, 3, None), (10, 4, 3, None)],
)
def test_pays_off(once: float, question: float, direct: float, expected: int | None):
    found = pays_off_after(once, question, direct)
    assert found == expected
    if found:
        assert once + found * question <= found * direct
        assert once + (found - 1) * question > (found - 1) * direct


def test_totals_and_prices_by_hand():
    slow = dataclasses.replace(COSTS, frame_s=0.2)
    calibration = Calibration("cuda:0", COSTS, COSTS, slow, memory_tokens=80)
    found = estimate([VIDEO, VIDEO], COMPRESSION, TOKENS, calibration, Prices(0.02, per_device_hour=3.6), 10**9)
    once_s = 2 * prefill_s(VIDEO, COMPRESSION, TOKENS, COSTS)
    assert found.prefill_s == pytest.approx(once_s)
    assert found.prefill_range_s == pytest.approx((once_s, once_s + 8))
    assert found.prefill_price == pytest.approx(once_s * 0.001)
    assert found.storage_price_per_month == pytest.approx(10 * 0.02)
    assert (found.videos, found.chunks, found.frames, found.duration_s) == (2, 8, 80, 3600)
    # (once · price + storage) / (saving of a question on each video · price), rounded up
    saving = 2 * (direct_s(VIDEO, COMPRESSION, TOKENS, COSTS) - question_s(VIDEO, COMPRESSION, TOKENS, COSTS)) * 0.001
    assert found.pays_off_after == -(-(once_s * 0.001 + 0.2) // saving)
    text = "\n".join(found.lines())
    for part in ("2 videos, 1 h", "GPU hours", "10 GB, 0.20 $ a month", "NOT ENOUGH", "pays off after"):
        assert part in text
    assert estimate([], COMPRESSION, TOKENS, calibration, Prices()).lines()


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [((10, 2), (20, 3), Line(1, 0.1)), ((10, 3), (20, 2), Line(2.5, 0)), ((10, 2), (10, 4), Line(3, 0))],
)
def test_a_line_never_falls(a: tuple[float, float], b: tuple[float, float], expected: Line):
    assert Line.through(a, b) == expected


def test_measuring_a_real_model(random_model: KVCompressibleModel):
    found = measure(random_model, COMPRESSION, 20, "cpu")
    kept = 10 * random_model.tokens_per_frame // COMPRESSION.low_ratio
    assert found.memory_tokens == 20 * kept
    for costs in (found.best, found.usual, found.worst):
        assert costs.frame_s > 0
        assert costs.token_s > 0
        assert costs.question.at(100) > 0
        assert min(costs.pair_s, costs.question.per_token_s, costs.answer.per_token_s) >= 0
    assert found.best.frame_s <= found.usual.frame_s <= found.worst.frame_s
    # A prefill goes on as it was: measuring leaves nothing in the model.
    again = measure(random_model, COMPRESSION, 2, "cpu")
    assert again.memory_tokens == 8 * kept


def test_a_dry_run_plans_the_costs(ray_cluster: None, random_checkpoint: Path, clips: Path, tmp_path: Path):
    settings = IngestSettings(
        str(random_checkpoint), "cpu", sampling=SamplingConfig(fps=10), compression=COMPRESSION, prefill_actors=1
    )
    lines = [{"source": str(clips / "065.mp4"), "fps": 5}, {"source": str(clips / "100.mp4"), "site": "north"}]
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, lines)))
    summary = ingest([tmp_path / "list.jsonl"], tmp_path / "archive", settings, dry_run=True, prices=Prices(1, 1))
    assert [(row.status, row.frames, row.chunks) for row in summary.rows] == [("planned", 33, 4), ("planned", 100, 10)]
    costs = summary.estimate
    assert costs is not None
    assert (costs.device, costs.videos, costs.chunks, costs.frames) == ("cpu", 2, 14, 133)
    assert costs.bytes == sum(row.low_bytes + row.high_bytes for row in summary.rows)
    assert costs.storage_price_per_month == pytest.approx(costs.bytes / 10**9)
    assert costs.prefill_price == pytest.approx(costs.prefill_s / 3600)
    assert 0 < costs.prefill_range_s[0] <= costs.prefill_range_s[1]
    assert costs.free_bytes
    console = Console(width=200, record=True)
    console.print(summary)
    assert "CPU hours" in console.export_text()
    assert not (tmp_path / "archive").exists()
