"""``videox2l bench all`` and its parts on tiny videos: rows, JSON, comparisons and the plot. No timings."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from typer.testing import CliRunner

from pipelines.bench.bounds import SIZES, run
from pipelines.bench.bounds.decode import TOKENS
from pipelines.bench.bounds.plot import growth_plot
from pipelines.bench.bounds.prefill import ChunkTimes, prefill_video, without_attention
from pipelines.bench.bounds.sizes import make_subject
from pipelines.bench.rows import Report
from pipelines.cli.bench import bench
from videox2l.errors import ConfigError
from videox2l.scorers import FROM_GIST

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def measured() -> Report:
    """Every part, on the bundled model's size."""
    size = dataclasses.replace(SIZES["tiny"], lengths=(4, 6), detailed=2)
    parts = ("prefill", "mix", "first-token", "decode", "store", "selection")
    return run(size, parts, device=CPU, dtype=torch.float32, repeats=1, folder=None, progress=lambda _: None)


def test_every_part_has_its_rows(measured: Report) -> None:
    found = {part: sum(row.part == part for row in measured.rows) for part in {row.part for row in measured.rows}}
    # Two lengths; of each 2 ways to prefill, 3 to mix or ask, 2 bounds of decoding, every scorer of the gist.
    # The store: written, and both levels.
    assert found == {"prefill": 4, "mix": 5, "first token": 6, "decode": 4, "store": 3, "selection": 2 * len(FROM_GIST)}
    assert all(row.seconds > 0 and row.bound_s > 0 and row.ratio > 0 for row in measured.rows)
    assert len({(row.part, row.case) for row in measured.rows}) == len(measured.rows)


def test_bytes_and_tokens_are_those_of_the_work(measured: Report) -> None:
    rows = {(row.part, row.case): row for row in measured.rows}
    geometry = make_subject(SIZES["tiny"], CPU, torch.float32).model.geometry
    # Chunks of 32 raw tokens: 2 at the high level, 16 at the low one, behind a prompt of 14.
    tokens = 14 + 4 * 2 + 2 * 16
    assert rows["mix", "6 chunks, 2 in detail"].more["MB"] * 1e6 == pytest.approx(tokens * geometry.bytes_per_token)
    assert rows["first token", "6 chunks, 2 in detail, as before"].more["memory tokens"] == tokens
    decoded = rows["decode", f"6 chunks, {TOKENS} tokens"]
    assert decoded.more["tokens/s"] == pytest.approx(TOKENS / decoded.seconds)


def test_growth_is_of_the_longest_video(measured: Report) -> None:
    assert {name: len(seconds) for name, seconds in measured.details["prefill"].items()} == dict.fromkeys(
        ("own", "stock", "attention"), 6
    )
    assert all(list(seconds) == sorted(seconds) for seconds in measured.details["prefill"].values())
    drawn = ElementTree.fromstring(growth_plot(measured.details["prefill"], "a < b"))
    assert "a < b" in "".join(drawn.itertext())


def test_the_stock_model_sees_as_many_tokens() -> None:
    """Held against the same rows: without the first chunk's high pass, which is its low one."""
    subject = make_subject(SIZES["tiny"], CPU, torch.float32)
    seen: list[tuple[int, int]] = []
    decoder = subject.model.network.language_model.model

    def note(_: object, arguments: object, given: dict[str, torch.Tensor]) -> None:
        seen.append((given["past_key_values"].get_seq_length(), given["inputs_embeds"].shape[1]))  # type: ignore[attr-defined]

    with decoder.register_forward_pre_hook(note, with_kwargs=True):
        prefill_video(subject, 3)
    # Chunks of 32 raw tokens; the first and the last keep 16 at both levels, the middle one 16 and 2.
    assert seen == [(14, 48), (30, 48), (30, 34), (46, 48), (32, 48)]


def test_without_attention_a_chunk_takes_as_long_as_another() -> None:
    def times(fixed: float, index: int) -> ChunkTimes:
        return ChunkTimes(fixed + index, 1.0, 2.0, float(index))

    assert without_attention([times(3, index) for index in range(12)]) == pytest.approx(1)
    assert without_attention([times(3 + index, index) for index in range(12)]) > 2


def test_the_command_ends_with_1_where_a_ratio_has_become_worse(tmp_path: Path) -> None:
    arguments = ["mix", "--size", "tiny", "--chunks", "3", "--repeats", "1", "--device", "cpu"]
    saved, better = tmp_path / "saved.json", tmp_path / "better.json"
    first = CliRunner().invoke(bench, [*arguments, "--json", "--save", str(saved)], catch_exceptions=False)
    assert first.exit_code == 0
    assert json.loads(first.stdout) == json.loads(saved.read_text())
    good = CliRunner().invoke(bench, [*arguments, "--compare", str(saved), "--tolerance", "1000"])
    assert good.exit_code == 0
    assert "Ratios against the earlier run" in good.stdout
    document = json.loads(saved.read_text())
    for one in document["sections"][0]["rows"]:
        one["ratio"] = 1e-9
    better.write_text(json.dumps(document))
    assert CliRunner().invoke(bench, [*arguments, "--compare", str(better)]).exit_code == 1


def test_a_size_that_there_is_not_is_refused() -> None:
    with pytest.raises(ConfigError, match="no size 'huge'"):
        CliRunner().invoke(bench, ["mix", "--size", "huge"], catch_exceptions=False)


def test_it_runs_where_ray_cannot_be_imported() -> None:
    script = "import sys; sys.modules['ray'] = None\nfrom pipelines.cli.main import main\nmain(sys.argv[1:])"
    arguments = ["bench", "all", "--size", "tiny", "--chunks", "3", "--repeats", "1", "--device", "cpu", "--json"]
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (section,) = json.loads(done.stdout)["sections"]
    assert {row["part"] for row in section["rows"]} >= {"prefill", "store"}
