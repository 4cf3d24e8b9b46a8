"""``videox2l bench prefill`` on small models: figures add up, operations are those that are run, no Ray."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from rich.console import Console
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

from pipelines.bench.flops import matrix_peak, prefill_flops
from pipelines.bench.prefill import PARTS, measure, plan
from pipelines.bench.prefill_tables import plan_table, report_table
from pipelines.cli.bench import bench
from videox2l.config import CompressionConfig, PrefillMode
from videox2l.errors import ConfigError, ModelError, VideoX2LError
from videox2l.kv import LEVELS
from videox2l.models.video_xl.memory import VideoXLWorkload
from videox2l.models.video_xl.model import VideoXL
from videox2l.models.video_xl.prefill import VideoXLPrefill
from videox2l.models.video_xl.vst import vst_layout

CPU = torch.device("cpu")


@pytest.fixture
def work(random_model: VideoXL) -> VideoXLWorkload:
    compression = CompressionConfig(2, 8, frames_per_chunk=5, edge_ratio="level")
    return VideoXLWorkload(config=random_model.network.config, compression=compression, dtype=torch.float32, chunks=3)


def run(*arguments: str) -> Any:
    """What the command prints as JSON."""
    result = CliRunner().invoke(bench, ["prefill", "--device", "cpu", "--json", *arguments], catch_exceptions=False)
    return json.loads(result.stdout)


def test_it_runs_where_ray_cannot_be_imported() -> None:
    """Nor a decoder, nor S3 clients: a bare GPU machine has PyTorch and transformers."""
    script = (
        "import sys\n"
        "class Blocker:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('ray', 'deepspeed', 's3fs', 'obstore'):\n"
        "            raise ImportError(name + ' is blocked')\n"
        "sys.meta_path.insert(0, Blocker())\n"
        "from pipelines.cli.main import main\n"
        "main(sys.argv[1:])\n"
    )
    arguments = [
        "bench",
        "prefill",
        "--preset",
        "tiny",
        "--random-weights",
        "--device",
        "cpu",
        "--chunks",
        "2",
        "--json",
    ]
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [figure["plan"]["chunks"] for figure in json.loads(done.stdout)["figures"]] == [2]


def test_figures_add_up(random_checkpoint: Path) -> None:
    settings = ("--frames-per-chunk", "5", "--low-ratio", "4", "--high-ratio", "10", "--videos", "2")
    report = run("--model", str(random_checkpoint), "--chunks", "4", "--chunks", "1", *settings)
    assert (report["dtype"], report["device"], report["videos"]) == ("float32", "cpu", 2)
    assert report["compression"] == {"low_ratio": 4, "high_ratio": 10, "frames_per_chunk": 5} | {
        key: report["compression"][key] for key in ("edge_ratio", "remainder")
    }
    assert [figure["plan"]["chunks"] for figure in report["figures"]] == [1, 4]
    for figure in report["figures"]:
        planned, seconds = figure["plan"], figure["seconds"]
        # Two videos of chunks of 5 frames of 4 tokens; the last and the first chunk keep 5 at both levels.
        inner = max(planned["chunks"] - 2, 0)
        assert planned["frames"] == 2 * 5 * planned["chunks"]
        assert planned["raw_tokens"] == 4 * planned["frames"]
        assert planned["low_tokens"] == 2 * 5 * planned["chunks"]
        assert planned["high_tokens"] == 2 * (5 * (planned["chunks"] - inner) + 2 * inner)
        assert figure["tokens_s"] == pytest.approx(planned["raw_tokens"] / seconds)
        assert figure["frames_s"] == pytest.approx(planned["frames"] / seconds)
        assert figure["of_peak"] == pytest.approx(planned["flops"] / seconds / report["matrix_peak"])
        assert set(figure["part_s"]) == set(PARTS)
        assert 0 < sum(figure["part_s"].values()) < seconds
        assert min(figure["part_s"].values()) > 0
        assert figure["copy_s"] == 0  # on a CPU nothing is copied
        assert figure["peak_bytes"] > 4 * report["parameters"]


def test_a_single_pass_is_held_against_the_exact_one(random_checkpoint: Path) -> None:
    arguments = ("--model", str(random_checkpoint), "--chunks", "2")
    (exact,), (single,) = (run(*arguments, *more)["figures"] for more in ((), ("--prefill", "single-pass")))
    assert exact["exact_s"] is None
    assert single["exact_s"] > 0
    assert single["plan"]["flops"] < exact["plan"]["flops"]
    assert single["plan"]["low_tokens"] == exact["plan"]["low_tokens"]


def test_a_dry_run_plans_the_same(random_checkpoint: Path) -> None:
    arguments = ("--model", str(random_checkpoint), "--chunks", "2")
    assert run(*arguments, "--dry-run") == [figure["plan"] for figure in run(*arguments)["figures"]]


@pytest.mark.parametrize("mode", get_args(PrefillMode))
def test_operations_are_those_that_are_run(random_model: VideoXL, work: VideoXLWorkload, mode: PrefillMode) -> None:
    """All matrix products as PyTorch counts them, and attention's by counting the keys that each row may see."""
    work = replace(work, compression=replace(work.compression, prefill=mode))
    network = random_model.network
    prefill = VideoXLPrefill(network.language_model, network.vst, torch.arange(14), work.compression)
    frame = network.config.frame_format
    frames_FHWC = torch.zeros(5, frame.height, frame.width, 3, dtype=torch.uint8)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        for index in range(work.chunks):
            prefill.append(network.visual_tokens(frames_FHWC), last=index == work.chunks - 1)
    counted = sum(count for op, count in counter.get_flop_counts()["Global"].items() if "attention" not in str(op))
    text, vision = work.config.text, work.config.vision
    assert vision is not None
    attention = work.chunks * 5 * vision.num_hidden_layers * 4 * 17**2 * vision.hidden_size
    for level, one in zip(LEVELS, work.plans(), strict=True):
        for memory, rows in one.windows():
            seen_XY = torch.ones(rows, memory + rows).tril(memory)
            if not work.compression.made_by(level):
                seen_XY = seen_XY[vst_layout(20, work.compression.low_ratio, "close").vst_rows]
            visible = int(seen_XY.sum())
            attention += (text.num_hidden_layers - 1) * 4 * text.hidden_size * visible
    assert prefill_flops(work).total == counted + attention


def test_matrix_peak_is_a_speed() -> None:
    assert 1e8 < matrix_peak(CPU, torch.float32) < 1e15


def test_tables_have_a_row_for_every_length(random_model: VideoXL, work: VideoXLWorkload) -> None:
    lengths, said = (3, 1, 2, 3), []
    report = measure(random_model.network, "random", work, lengths, said.append)
    tables = plan_table(plan(work, CPU, lengths)), report_table(report)
    assert [table.row_count for table in tables] == [3, 3]
    printed = io.StringIO()
    Console(width=120, file=printed).print(*tables)
    assert all(word in printed.getvalue() for word in ("random", "float32", "vision", "of peak", "planned"))
    assert "prefilling 3 chunks" in said


REFUSED: dict[str, tuple[list[str], type[VideoX2LError], str]] = {
    "an unknown preset": (["--preset", "video-xl-70b"], ConfigError, "video-xl-7b"),
    "a preset without weights": (["--preset", "video-xl-7b"], ConfigError, "--random-weights"),
    "both": (["--preset", "tiny", "--model", "tiny"], ConfigError, "either"),
    "an attention of GPUs": (["--attention", "flash_attention_2", "--chunks", "1"], ModelError, "needs a GPU"),
    "a device that is none": (["--device", "gpu"], ConfigError, "gpu"),
    "what cannot fit anywhere": (
        ["--preset", "video-xl-7b", "--random-weights", "--dtype", "float32", "--chunks", "10000000"],
        ModelError,
        "GiB can be used",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_measured_is_refused(case: str) -> None:
    arguments, kind, message = REFUSED[case]
    with pytest.raises(kind, match=message):
        run(*arguments)
