"""Training in miniature: losses fall, a resumed run is the same run, the whole script leaves a usable folder."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from videox2l.models.video_xl.checkpoint import load_network
from videox2l.training.clips import TokenBank
from videox2l.training.curriculum import FIRST_VST_STAGE, Stage
from videox2l.training.language import LanguageTrainer, copy_into_vsts
from videox2l.training.model_config import new_network, raw_config
from videox2l.training.run import SMOKE, train_tiny
from videox2l.training.tokenizer import train_tokenizer
from videox2l.video.synthetic import SECONDS_PER_SCENE

ONE_SCENE = (Stage("one scene", (1,), {"full": 0.5, "uniform": 0.5}, end=1.0, ratios=(2,)),)


@pytest.fixture(autouse=True)
def one_thread():
    """As the bundled model is trained: over several threads, sums may be split differently from one run to the next."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer()


@pytest.fixture(scope="module")
def bank() -> TokenBank:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(2, 4, SECONDS_PER_SCENE, 4, 128, generator=generator)
    return TokenBank(tokens, np.random.default_rng(0).integers(0, 10, (2, 4, SECONDS_PER_SCENE, 3)))


def trainer(tokenizer, bank, folder: Path, steps: int) -> LanguageTrainer:
    torch.manual_seed(0)
    network = new_network(raw_config(tokenizer))
    return LanguageTrainer(network, tokenizer, bank, steps=steps, seed=0, folder=folder, stages=ONE_SCENE)


def test_language_loss_falls(tokenizer, bank, tmp_path) -> None:
    losses: list[float] = []
    trainer(tokenizer, bank, tmp_path, 25).train(lambda _, loss: losses.append(loss))
    assert len(losses) == 25
    assert np.mean(losses[-3:]) < 0.6 * np.mean(losses[:3])


def test_vision_is_not_touched_by_language_training(tokenizer, bank, tmp_path) -> None:
    run = trainer(tokenizer, bank, tmp_path, 2)
    before = {name: value.clone() for name, value in run.network.state_dict().items()}
    run.train()
    for name, value in run.network.state_dict().items():
        if name.startswith(("vision_tower", "projector")):
            assert torch.equal(value, before[name])
    assert not torch.equal(run.network.state_dict()["vst.layers.0.q_proj.weight"], before["vst.layers.0.q_proj.weight"])


def test_an_interrupted_run_goes_on_bit_for_bit(tokenizer, bank, tmp_path) -> None:
    whole = trainer(tokenizer, bank, tmp_path / "whole", 6)
    whole.train()

    def interrupt(run: LanguageTrainer, _loss: float) -> None:
        if run.progress.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer(tokenizer, bank, tmp_path / "parts", 6).train(interrupt)
    resumed = trainer(tokenizer, bank, tmp_path / "parts", 6)
    assert resumed.progress.step == 3
    resumed.train()
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name


def test_vsts_start_as_the_ordinary_projections(tokenizer) -> None:
    network = new_network(raw_config(tokenizer))
    copy_into_vsts(network)
    for layer, vst in zip(network.language_model.model.layers, network.vst.layers, strict=True):
        assert torch.equal(vst.k_proj.weight, layer.self_attn.k_proj.weight)
        assert vst.k_proj.weight.data_ptr() != layer.self_attn.k_proj.weight.data_ptr()


@pytest.mark.timeout(280)
def test_the_whole_script_leaves_a_checkpoint_that_loads(tmp_path, tokenizer) -> None:
    lines: list[str] = []
    setting = dataclasses.replace(SMOKE, stages=SMOKE.stages[: FIRST_VST_STAGE + 1])
    results = train_tiny(tmp_path / "out", work=tmp_path / "work", steps=4, setting=setting, report=lines.append)
    assert results["training"]["steps"] == 4
    assert lines
    network = load_network(tmp_path / "out", device=torch.device("cpu"), dtype=torch.float32)
    assert network.config.compression.high_ratio == 16
    assert AutoTokenizer.from_pretrained(tmp_path / "out").get_vocab() == tokenizer.get_vocab()
    card = (tmp_path / "out" / "README.md").read_text()
    assert "### 4 scenes" in card
    assert "bi-level, right chunk" in card
    relevance = json.loads((tmp_path / "out" / "relevance.json").read_text())
    assert set(relevance) == {"heads", "question_tokens", "reduction", "recall_at_1"}
    # A second call has nothing left to train and gives the same checkpoint.
    train_tiny(tmp_path / "again", work=tmp_path / "work", steps=4, setting=setting)
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (
        tmp_path / "out" / "model.safetensors"
    ).read_bytes()
