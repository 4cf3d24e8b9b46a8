"""Loading checkpoints of the published layout: everything by name, and anything amiss is an error that lists it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.checkpoints import VISION, write_random_checkpoint
from videox2l.errors import CheckpointError, ModelError, UnknownModelError
from videox2l.models import load_model
from videox2l.models.registry import check_model_name
from videox2l.models.video_xl.checkpoint import checkpoint_name, module_name, save_network
from videox2l.models.video_xl.model import VideoXL


@pytest.fixture
def checkpoint(random_checkpoint: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(random_checkpoint, tmp_path / "checkpoint"))


def edit_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    """Apply ``change`` to the first shard."""
    file = folder / "model-00001-of-00002.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)


def test_every_weight_arrives(random_checkpoint: Path, random_model: VideoXL) -> None:
    state = random_model.network.state_dict()
    seen = set()
    for file in random_checkpoint.glob("*.safetensors"):
        for name, tensor in load_file(file).items():
            ours = module_name(name)
            assert torch.equal(state[ours], tensor), name
            seen.add(ours)
    assert seen == state.keys()


def test_the_vision_tower_is_read_off_the_weights(random_model: VideoXL) -> None:
    vision = random_model.network.config.vision.to_dict()
    assert {key: vision[key] for key in VISION} == VISION


def test_loaded_model_equals_the_one_that_was_built(random_checkpoint: Path, random_model: VideoXL) -> None:
    """Buffers that no file stores (rotary frequencies, position ids) are computed, not left as found."""
    from transformers import Qwen2ForCausalLM

    text = random_model.network.config.text
    stock = Qwen2ForCausalLM(text).eval()
    stock.load_state_dict(random_model.decoder.state_dict())
    ids = torch.arange(20)[None]
    with torch.inference_mode():
        assert torch.equal(stock(ids).logits, random_model.decoder(ids).logits)


def test_names_go_both_ways(random_model: VideoXL) -> None:
    for name in random_model.network.state_dict():
        assert module_name(checkpoint_name(name)) == name


def test_save_and_load(random_checkpoint: Path, random_model: VideoXL, tmp_path: Path) -> None:
    raw = json.loads((random_checkpoint / "config.json").read_text())
    save_network(random_model.network, raw, tmp_path)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(random_checkpoint / file, tmp_path / file)
    again = load_model(str(tmp_path))
    for name, tensor in random_model.network.state_dict().items():
        assert torch.equal(again.network.state_dict()[name], tensor)


def test_tied_embeddings(tmp_path: Path) -> None:
    decoder = load_model(str(write_random_checkpoint(tmp_path, tie_word_embeddings=True))).decoder
    assert decoder.lm_head.weight is decoder.model.embed_tokens.weight


def drop(name: str) -> Callable[[Path], None]:
    return lambda folder: edit_tensors(folder, lambda tensors: tensors.pop(name))


def add(name: str) -> Callable[[Path], None]:
    return lambda folder: edit_tensors(folder, lambda tensors: tensors.update({name: torch.zeros(1)}))


def edit_config(**changes: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


def only_pickles(folder: Path) -> None:
    for file in folder.glob("*.safetensors*"):
        file.unlink()
    (folder / "pytorch_model.bin").write_bytes(b"never opened")


SPOILED = {
    "a missing tensor": (drop("lm_head.weight"), "missing: lm_head.weight"),
    "an unexpected tensor": (add("model.layers.0.extra.weight"), "unexpected: model.layers.0.extra.weight"),
    "a tensor of another shape": (edit_config(intermediate_size=48), "has shape"),
    "a missing shard": (lambda folder: (folder / "model-00002-of-00002.safetensors").unlink(), "lacks shards"),
    "a damaged shard": (
        lambda folder: (folder / "model-00002-of-00002.safetensors").write_bytes(b"x" * 64),
        "readable",
    ),
    "only pickles": (only_pickles, "pytorch_model.bin"),
    "no config.json": (lambda folder: (folder / "config.json").unlink(), "config.json"),
    "config.json that is not JSON": (lambda folder: (folder / "config.json").write_text("{"), "JSON"),
    "another kind of model": (edit_config(model_type="llama"), "llama"),
    "a variant that is not computed": (edit_config(beacon_pos="append"), "beacon_pos"),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer"),
    "a tokenizer larger than the vocabulary": (edit_config(vocab_size=10), "shape|tokens"),
}


@pytest.mark.parametrize("case", SPOILED)
def test_a_spoiled_checkpoint_is_refused(checkpoint: Path, case: str) -> None:
    spoil, message = SPOILED[case]
    spoil(checkpoint)
    with pytest.raises(ModelError, match=message):
        load_model(str(checkpoint))


def test_leftover_buffers_of_older_exports_are_no_error(checkpoint: Path) -> None:
    add("model.vision_tower.vision_tower.vision_model.embeddings.position_ids")(checkpoint)
    load_model(str(checkpoint))


@pytest.mark.parametrize("name", ["no-such-model", "./missing/folder", "/missing/folder", "owner/model"])
def test_unknown_models(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UnknownModelError, match=name):
        load_model(name)


def test_names_that_no_machine_could_load(checkpoint: Path) -> None:
    """What may be somewhere else, or on the hub, is not looked for."""
    for name in ("tiny", "tiny-plain?budget=layer", str(checkpoint), "/on/a/worker", "owner/model"):
        check_model_name(name)
    for name in ("tny", "no-such-model?window=2"):
        with pytest.raises(UnknownModelError, match="no model"):
            check_model_name(name)


def test_identity_is_content_not_name(checkpoint: Path, random_model: VideoXL) -> None:
    moved = checkpoint.rename(checkpoint.parent / "renamed")
    assert load_model(str(moved)).identity == random_model.identity
    edit_tensors(moved, lambda tensors: tensors[next(iter(tensors))].view(-1)[:1].add_(1))
    assert load_model(str(moved)).identity != random_model.identity


def test_identity_includes_the_compute_dtype(random_checkpoint: Path, random_model: VideoXL) -> None:
    assert load_model(str(random_checkpoint), dtype="bfloat16").identity != random_model.identity


def test_checkpoint_error_lists_everything_at_once(checkpoint: Path) -> None:
    drop("lm_head.weight")(checkpoint)
    add("surprise")(checkpoint)
    with pytest.raises(CheckpointError) as error:
        load_model(str(checkpoint))
    assert "lm_head.weight" in str(error.value)
    assert "surprise" in str(error.value)
