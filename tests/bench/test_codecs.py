"""``videox2l bench codecs`` on a small clip and a random checkpoint: the figures are complete and add up."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from pipelines.bench import clips
from pipelines.bench.clips import PrefilledClip, prefill_clip
from pipelines.bench.codecs import CodecReport, FidelityRow, SizeRow, units
from pipelines.bench.tables import tables
from pipelines.cli.bench import bench
from videox2l.kv import LEVELS
from videox2l.kv.codecs import CODECS
from videox2l.models import KVCompressibleModel
from videox2l.video.synthetic import SECONDS_PER_SCENE


@pytest.fixture(scope="module", autouse=True)
def little_to_do() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clips, "SCENES", (3,))
        patch.setattr(clips, "QUESTIONS", {"code": 1, "exists": 1, "first": 1})
        yield


@pytest.fixture(scope="module")
def clip(random_model: KVCompressibleModel) -> PrefilledClip:
    return prefill_clip(random_model, 0, 0)


@pytest.fixture(scope="module")
def report(random_checkpoint: Path) -> dict[str, Any]:
    result = CliRunner().invoke(bench, ["codecs", "--clips", "1", "--model", str(random_checkpoint), "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_sizes_of_every_codec_level_dtype_and_stretch(report: dict[str, Any], clip: PrefilledClip) -> None:
    rows = {(row["codec"], row["level"], row["dtype"], row["stretch"]): row for row in report["sizes"]}
    cases = set(itertools.product(CODECS, LEVELS, ("float32", "bfloat16"), ("chunk", "clip")))
    assert set(rows) == cases
    for (name, level, dtype, _), row in rows.items():
        floats = sum(kv.nbytes for kv in units(clip, level, "chunk"))
        assert row["raw_bytes"] == (floats if dtype == "float32" else floats // 2)
        assert row["ratio"] == pytest.approx(row["raw_bytes"] / row["bytes"])
        assert (row["ratio"] == 1) == (name == "raw")
        assert min(row["encode_mb_s"], row["decode_mb_s"]) > 0


def test_answers_change_as_much_as_a_codec_loses(report: dict[str, Any]) -> None:
    rows = {(row["codec"], row["levels"], row["stretch"]): row for row in report["fidelity"]}
    for (name, levels, stretch), row in rows.items():
        assert set(row["accuracy"]) == {"code", "code, right chunk", "exists", "first"}
        if name in CODECS and CODECS[name].lossless:
            assert (row["logits_max"], row["agreement"], row["chunks_agreement"]) == (0, 1, 1)
        else:
            assert row["logits_max"] >= row["logits_mean"] > 0
        if name == "int8":
            assert row["logits_mean"] < rows["int4", levels, stretch]["logits_mean"]
    assert {levels for name, levels, _ in rows if name == "int4"} == {"low", "high", "low + high"}


def test_the_tables_have_every_row(report: dict[str, Any]) -> None:
    sizes = tuple(SizeRow(**{key: value for key, value in row.items() if key != "ratio"}) for row in report["sizes"])
    fidelity = tuple(FidelityRow(**row) for row in report["fidelity"])
    found = list(tables(CodecReport("random", 1, 3, sizes, fidelity)))
    assert [table.row_count for table in found] == [len(sizes), len(fidelity)]
    printed = io.StringIO()
    Console(width=200, file=printed).print(*found)
    for name in (*CODECS, "right chunk", "logits max"):
        assert name in printed.getvalue()


def test_other_seeds_are_other_clips(random_model: KVCompressibleModel, clip: PrefilledClip) -> None:
    other = prefill_clip(random_model, 0, 1)
    assert clip.questions != other.questions
    assert not torch.allclose(other.chunks[1]["low"].keys_LHTD, clip.chunks[1]["low"].keys_LHTD, rtol=0, atol=1e-4)


def test_the_right_chunk_shows_the_second_that_is_asked_for(clip: PrefilledClip) -> None:
    """Scenes have 8 seconds, this model's chunks 10."""
    for question in clip.questions:
        chunk = clip.right_chunk(question)
        assert (chunk is None) == (question.kind != "code")
        if chunk is not None and question.chunk is not None and question.second is not None:
            assert chunk == (question.chunk * SECONDS_PER_SCENE + question.second - 1) // 10
