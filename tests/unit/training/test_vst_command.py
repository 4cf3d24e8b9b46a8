"""``videox2l train`` as people run it: the dry run, Ctrl-C, wrong usage, and the preset of the bundled model."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from pipelines.cli.main import app
from tests.training_lists import write_training_list
from videox2l.errors import ConfigError
from videox2l.models import load_model
from videox2l.training.vst.estimate import estimate, kept_elements
from videox2l.training.vst.settings import VSTSettings
from videox2l.training.vst.state import RunFolder
from videox2l.training.vst.task import VSTJob

OPTIONS = "--steps 5 --batch 3 --fps 2 --frames-per-chunk 4 --learning-rate 1e-3 --questions 2 --seed 4".split()


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_training_list(tmp_path_factory.mktemp("training"))


def command(checkpoint: Path, videos: Path, work: Path) -> list[str]:
    return ["train", str(videos), "--model", str(checkpoint), "--work", str(work), *OPTIONS]


def in_process(arguments: list[str]) -> str:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_ctrl_c_saves_and_the_same_command_goes_on(random_checkpoint, videos, tmp_path) -> None:
    """The signal reaches all processes of the terminal, so also the decoders: none may take it for a broken video."""
    arguments = command(random_checkpoint, videos, tmp_path / "run")
    with subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli", *arguments, "--skip-broken"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        os.killpg(process.pid, signal.SIGINT)
        said += process.stderr.read()
    assert process.returncode == 130, said
    assert "the same command goes on" in said and "skipped" not in said
    state = RunFolder(str(tmp_path / "run")).load()
    assert state is not None and 1 <= state.step < 5
    in_process([*arguments, "--skip-broken"])
    in_process([*command(random_checkpoint, videos, tmp_path / "undisturbed"), "--skip-broken"])
    interrupted, undisturbed = (
        load_file(tmp_path / run / "checkpoint" / "model.safetensors") for run in ("run", "undisturbed")
    )
    assert all(torch.equal(tensor, undisturbed[name]) for name, tensor in interrupted.items())
    assert load_model(str(tmp_path / "run" / "checkpoint")).default_compression.frames_per_chunk == 4


def test_a_dry_run_says_what_is_needed_and_does_nothing(random_checkpoint, videos, tmp_path) -> None:
    said = in_process([*command(random_checkpoint, videos, tmp_path / "run"), "--dry-run"])
    assert "4 with 8 questions about 3 videos" in said
    assert "the longest 14 frames in 4 chunks" in said
    assert not (tmp_path / "run").exists()


def test_the_memory_estimate_is_of_the_right_size(random_checkpoint, videos) -> None:
    """Activations against what autograd really keeps; they are what depends on the video."""
    settings = VSTSettings(ratios=(2,), batch=1, frames_per_chunk=4)
    job = VSTJob(str(random_checkpoint), str(videos), settings)
    task, module = job.task(torch.device("cpu"))
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    module.requires_grad_(False)
    module.vst.requires_grad_(True)
    frames = 60
    visual = torch.randn(frames // 4, 16, 32)
    ids = torch.zeros(1, 1, 2, dtype=torch.long)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        arguments = (torch.zeros(3, dtype=torch.long), visual, (16,) * len(visual), (2,) * len(visual), ids)
        loss = module(*arguments, torch.tensor([[[True, False]]]), torch.tensor([0]))
    expected = 4 * kept_elements(task.network.config, settings, frames, 4)  # bytes of float32
    assert loss.requires_grad
    assert 0.5 < expected / sum(kept.values()) < 2
    task.close()


def test_zero_stages_share_out_what_they_say(random_checkpoint, videos, tmp_path) -> None:
    row = json.loads(videos.read_text().splitlines()[0])
    (tmp_path / "one.jsonl").write_text(json.dumps({**row, "video": str(videos.parent / row["video"])}))
    job = VSTJob(str(random_checkpoint), str(tmp_path / "one.jsonl"), VSTSettings())
    needs = [estimate(job, workers=4, stage=stage).memory for stage in (1, 2, 3)]
    assert needs[0].gradients == 4 * needs[1].gradients
    assert needs[1].weights > needs[2].weights
    assert needs[0].moments == needs[2].moments == 3 * needs[1].gradients


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_said(random_checkpoint, videos, tmp_path) -> None:
    arguments = [*command(random_checkpoint, videos, tmp_path / "run"), "--gpu"]
    with pytest.raises(ConfigError, match="finds no GPU"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give a list of questions"),
        (["list.jsonl", "--preset", "large"], "no preset 'large'"),
        (["list.jsonl", "--ratios", "2;4"], "numbers with commas"),
        (["list.jsonl", "--deepspeed", "zero.json"], "needs --workers"),
        (["list.jsonl", "--work", "s3://bucket/run"], "--out FOLDER"),
        (["--preset", "tiny", "--ratios", "2"], "has no ratios"),
        (["--preset", "tiny", "--workers", "2"], "repeats bit for bit"),
        (["none.jsonl"], "cannot read the training list"),
        (["none.jsonl", "--dry-run"], "cannot read the training list"),
    ],
)
def test_wrong_usage_is_explained(arguments, message, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message):
        CliRunner().invoke(app, ["train", *arguments], catch_exceptions=False)


def test_the_preset_tiny_is_train_tiny(tmp_path) -> None:
    """Bit for bit. The second run takes over the first one's frame bank, which both would render alike."""
    made = {}
    for name, start in (("script", ["train-tiny"]), ("preset", ["train", "--preset", "tiny"])):
        out, work = tmp_path / name / "out", tmp_path / name / "work"
        work.mkdir(parents=True)
        for bank in tmp_path.glob("script/work/bank-*.npy"):
            if name == "preset":
                shutil.copy(bank, work)
        in_process([*start, "--steps", "2", "--seed", "3", "--smoke", "--out", str(out), "--work", str(work)])
        made[name] = load_file(out / "model.safetensors")
        assert (out / "README.md").is_file()
    assert made["preset"].keys() == made["script"].keys()
    assert all(torch.equal(tensor, made["script"][name]) for name, tensor in made["preset"].items())
