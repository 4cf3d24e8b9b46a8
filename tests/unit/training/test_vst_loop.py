"""Runs of the plain loop: what learns, going on after an interruption, faults, and the checkpoint that comes out."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.checkpoints import write_random_checkpoint
from tests.training_lists import SETTINGS, write_training_list
from videox2l.errors import CheckpointError, ConfigError, CorruptDataError, VideoError
from videox2l.models import load_model
from videox2l.models.video_xl.checkpoint import weight_files
from videox2l.training.vst.export import export_run
from videox2l.training.vst.loop import train_vst
from videox2l.training.vst.settings import VSTSettings
from videox2l.training.vst.state import RunFolder, TrainingState
from videox2l.training.vst.task import VSTJob
from videox2l.video.synthetic import SyntheticClip, questions, render

ONE_EXAMPLE = dataclasses.replace(SETTINGS, batch=1, steps=2)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_training_list(tmp_path_factory.mktemp("training"))


@pytest.fixture(scope="module")
def job(random_checkpoint: Path, videos: Path) -> VSTJob:
    return VSTJob(str(random_checkpoint), str(videos), SETTINGS)


@pytest.fixture(scope="module")
def finished(job: VSTJob, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainingState]:
    work = tmp_path_factory.mktemp("finished")
    train_vst(job, str(work))
    state = RunFolder(str(work)).load()
    assert state is not None
    return work, state


def stored(folder: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for file in weight_files(folder) for name, tensor in load_file(file).items()}


@pytest.mark.parametrize("trained", ["vst", "all"])
def test_the_loss_falls(tmp_path, trained) -> None:
    """The bundled model with VSTs that have yet to learn, on one clip and questions that they decide."""
    clip = SyntheticClip.from_seed(5, 2)
    render(clip, tmp_path / "clip.mp4", fps=2)
    rows = [{"video": "clip.mp4", "question": q.text, "answer": q.answer} for q in questions(clip, 5, count=8)]
    (tmp_path / "list.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    settings = VSTSettings(
        steps=12, batch=1, trained=trained, start="copy", ratios=(2, 4), learning_rate=3e-3, warmup_steps=2
    )
    losses = train_vst(VSTJob("tiny", str(tmp_path / "list.jsonl"), settings), str(tmp_path / "work")).losses
    assert len(losses) == settings.steps
    assert sum(losses[-3:]) < 0.7 * sum(losses[:3])


def after(steps: int) -> Callable[[], bool]:
    """Asked once a step: stop after so many."""
    asked = itertools.count(1)
    return lambda: next(asked) == steps


@pytest.mark.parametrize("stops", [(1,), (2, 3)])
def test_an_interrupted_run_goes_on_bit_for_bit(job, finished, tmp_path, stops) -> None:
    for index, steps in enumerate(stops):
        state = train_vst(job, str(tmp_path), should_stop=after(steps))
        assert state.step == sum(stops[: index + 1])
    train_vst(job, str(tmp_path))
    state = RunFolder(str(tmp_path)).load()
    assert state is not None
    assert state.losses == finished[1].losses
    for part, tensors in finished[1].tensors.items():
        for name, tensor in tensors.items():
            assert torch.equal(state.tensors[part][name], tensor), (part, name)


def test_states_may_be_kept_at_a_url(job, finished) -> None:
    train_vst(job, "memory://runs/url", should_stop=after(2))
    assert train_vst(job, "memory://runs/url").losses == finished[1].losses


@pytest.mark.parametrize("trained", ["vst", "all"])
def test_only_what_is_told_to_learns(random_checkpoint, videos, tmp_path, trained) -> None:
    settings = dataclasses.replace(ONE_EXAMPLE, trained=trained, start="keep", language_learning_rate=1e-3)
    job = VSTJob(str(random_checkpoint), str(videos), settings)
    train_vst(job, str(tmp_path / "work"))
    export_run(job, str(tmp_path / "work"), tmp_path / "out")
    before, after = stored(random_checkpoint), stored(tmp_path / "out")
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    vst = {name for name in before if "beacon" in name and ".1.self_attn.beacon_q_proj" not in name}
    language = {name for name in before if "beacon" not in name and name.startswith(("model.layers", "lm_head"))}
    assert vst <= changed
    assert language <= changed if trained == "all" else changed == vst
    assert not any("vision_tower" in name or "mm_projector" in name for name in changed)


def test_the_result_is_a_model_with_the_trained_weights(job, finished, tmp_path) -> None:
    work, state = finished
    export_run(job, str(work), tmp_path / "out")
    model = load_model(str(tmp_path / "out"))
    assert model.default_compression.frames_per_chunk == SETTINGS.frames_per_chunk
    parameters = dict(model.network.named_parameters())
    for name, tensor in state.tensors["weights"].items():
        assert torch.equal(parameters[name], tensor)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "random-video-xl" in card and f"{state.losses[0]:.4f}" in card
    assert json.loads((tmp_path / "out" / "training.json").read_text())["losses"] == state.losses
    export_run(job, str(work), tmp_path / "out")  # in place of the earlier result


def test_a_base_without_vsts_begins_with_copies_of_its_projections(random_checkpoint, videos, tmp_path) -> None:
    base = tmp_path / "base"
    write_random_checkpoint(base)
    for file in weight_files(base):
        tensors = {name: tensor for name, tensor in load_file(file).items() if "beacon" not in name}
        save_file(tensors, file)
    index = json.loads((base / "model.safetensors.index.json").read_text())
    index["weight_map"] = {name: file for name, file in index["weight_map"].items() if "beacon" not in name}
    (base / "model.safetensors.index.json").write_text(json.dumps(index))
    job = VSTJob(str(base), str(videos), dataclasses.replace(ONE_EXAMPLE, steps=1, learning_rate=0.0))
    train_vst(job, str(tmp_path / "work"))
    export_run(job, str(tmp_path / "work"), tmp_path / "out")
    network = load_model(str(tmp_path / "out")).network
    for layer, vst in zip(network.language_model.model.layers, network.vst.layers, strict=True):
        for name in ("q_proj", "k_proj", "v_proj"):
            assert torch.equal(getattr(vst, name).weight, getattr(layer.self_attn, name).weight)


def test_damaged_weights_of_the_base_are_told(random_checkpoint, videos, tmp_path) -> None:
    base = write_random_checkpoint(tmp_path / "base")
    weight_files(base)[0].write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        train_vst(VSTJob(str(base), str(videos), ONE_EXAMPLE), str(tmp_path / "work"))


def test_another_run_in_the_folder_is_refused_with_the_difference(job, finished) -> None:
    other = dataclasses.replace(job, settings=dataclasses.replace(SETTINGS, batch=2))
    with pytest.raises(ConfigError, match=r"settings\.batch: begun with 4, now 2"):
        train_vst(other, str(finished[0]))


def test_an_unfinished_run_is_not_exported(job, tmp_path) -> None:
    train_vst(job, str(tmp_path / "work"), should_stop=lambda: True)
    with pytest.raises(ConfigError, match="1 steps are done"):
        export_run(job, str(tmp_path / "work"), tmp_path / "out")


def test_a_folder_with_something_else_is_not_overwritten(job, finished, tmp_path) -> None:
    (tmp_path / "thesis.pdf").touch()
    with pytest.raises(ConfigError, match="holds something else"):
        export_run(job, str(finished[0]), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.pdf"]


@pytest.mark.parametrize("broken", ["stop", "skip"])
def test_a_video_that_does_not_decode(random_checkpoint, videos, tmp_path, broken) -> None:
    good = [json.loads(line) for line in videos.read_text().splitlines()[:2]]
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    rows = [{**row, "video": str(videos.parent / row["video"])} for row in good]
    rows.append({"video": "broken.mp4", "question": "Why?", "answer": "Chance"})
    (tmp_path / "list.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    settings = dataclasses.replace(SETTINGS, batch=2, steps=2, broken_videos=broken)
    job = VSTJob(str(random_checkpoint), str(tmp_path / "list.jsonl"), settings)
    skipped: list[str] = []
    if broken == "stop":
        with pytest.raises(VideoError, match=r"broken\.mp4.*\n.*Training stopped there"):
            train_vst(job, str(tmp_path / "work"))
        return
    state = train_vst(job, str(tmp_path / "work"), on_skip=skipped.append)
    assert state.step == 2 and all(loss > 0 for loss in state.losses)
    assert len(skipped) == 1 and "broken.mp4" in skipped[0]


def test_damaged_states_are_never_gone_on_from(job, tmp_path) -> None:
    settings = dataclasses.replace(SETTINGS, steps=3)
    train_vst(dataclasses.replace(job, settings=settings), str(tmp_path), save_every=1)
    folder = RunFolder(str(tmp_path))
    states = sorted((tmp_path / "states").iterdir())
    assert [path.name for path in states] == ["00000002", "00000003"]
    for path, left in zip(reversed(states), (2, None), strict=True):
        weights = path / "weights.safetensors"
        data = bytearray(weights.read_bytes())
        data[-1] ^= 1
        weights.write_bytes(data)
        if left is None:
            with pytest.raises(CorruptDataError, match="not what was written"):
                folder.load()
        else:
            state = folder.load()
            assert state is not None and state.step == left


def test_a_state_that_was_cut_off_does_not_count(job, tmp_path) -> None:
    train_vst(job, str(tmp_path), save_every=2)
    newest = sorted((tmp_path / "states").iterdir())[-1]
    (newest / "state.json").unlink()
    state = RunFolder(str(tmp_path)).load()
    assert state is not None and state.step == 4


@pytest.mark.parametrize(
    "change",
    [{"ratios": ()}, {"ratios": (0,)}, {"steps": 0}, {"learning_rate": float("nan")}, {"trained": "some"}],
)
def test_impossible_settings_are_refused(change) -> None:
    with pytest.raises(ConfigError):
        VSTSettings(**change)
