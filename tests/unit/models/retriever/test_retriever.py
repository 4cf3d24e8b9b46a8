"""Retrievers against the models that they stand on, and on checkpoints that are none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from transformers import AutoModel

from tests.retriever_checkpoints import KINDS, write_retriever
from videox2l.errors import CheckpointError, UnknownModelError
from videox2l.models.retriever import OWN, check_retriever, load_retriever
from videox2l.models.retriever.clip import _KINDS
from videox2l.models.video_xl.model import VideoXL

QUESTION = "Where is the red <|im_end|> car?"
FRAMES = np.random.default_rng(0).integers(0, 256, (10, 30, 40, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: write_retriever(tmp_path_factory.mktemp(kind), kind) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_are_those_of_transformers(folders: dict[str, Path], kind: str, random_model: VideoXL) -> None:
    retriever = load_retriever(str(folders[kind]), random_model)
    network = AutoModel.from_pretrained(folders[kind]).eval()
    processor = _KINDS[kind][0].from_pretrained(folders[kind])
    images = [Image.fromarray(FRAMES[place]) for place in (1, 3, 6, 8)]
    pixels = processor(images=images, return_tensors="pt")["pixel_values"]
    # Bytes as tokens: what looks like a control token is spelled out, whatever the tokenizer would make of it.
    ids = random_model.tokenizer(QUESTION, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    ids = ids[:32]
    if kind == "siglip":
        ids = ids + [random_model.tokenizer.convert_tokens_to_ids("<|endoftext|>")] * (32 - len(ids))
    with torch.inference_mode():
        seen = network.get_image_features(pixel_values=pixels).pooler_output
        said = network.get_text_features(input_ids=torch.tensor([ids])).pooler_output[0]
    rows = torch.zeros(1, 1)
    np.testing.assert_allclose(retriever.of_chunk(FRAMES, rows), F.normalize(seen, dim=-1).numpy(), atol=1e-5)
    np.testing.assert_allclose(retriever.of_question(QUESTION), F.normalize(said, dim=-1).numpy(), atol=1e-5)


def test_the_models_own_embeddings(random_model: VideoXL) -> None:
    retriever = load_retriever(OWN, random_model)
    tokens_TN = torch.randn(8 * 4, 16)
    vectors = retriever.of_chunk(FRAMES[:8], tokens_TN)
    expected = torch.stack([part.mean(0) for part in tokens_TN.chunk(4)])
    np.testing.assert_allclose(vectors, F.normalize(expected, dim=-1).numpy(), atol=1e-6)
    ids = random_model.tokenizer("where?", add_special_tokens=False)["input_ids"]
    weight = random_model.decoder.get_input_embeddings().weight
    np.testing.assert_allclose(
        retriever.of_question("where?"), F.normalize(weight[ids].mean(0), dim=-1).numpy(), atol=1e-6
    )
    assert retriever.identity.fingerprint == random_model.identity.fingerprint


@pytest.mark.parametrize("frames", [1, 3, 5])
def test_a_short_chunk_has_fewer_vectors(folders: dict[str, Path], random_model: VideoXL, frames: int) -> None:
    for name in (OWN, str(folders["clip"])):
        vectors = load_retriever(name, random_model).of_chunk(FRAMES[:frames], torch.randn(4 * frames, 16))
        assert len(vectors) == min(4, frames)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_other_weights_are_another_retriever(tmp_path: Path, folders: dict[str, Path], random_model: VideoXL) -> None:
    other = write_retriever(tmp_path, "clip", seed=1)
    names = (str(folders["clip"]), str(other))
    assert len({load_retriever(name, random_model).identity.fingerprint for name in names}) == 2


def test_what_is_no_retriever(tmp_path: Path, random_model: VideoXL) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(CheckpointError, match="'bert' and no retriever: give a checkpoint of clip or siglip"):
        load_retriever(str(tmp_path), random_model)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip"}))
    with pytest.raises(CheckpointError, match="pickles"):
        load_retriever(str(tmp_path), random_model)
    with pytest.raises(UnknownModelError):
        load_retriever("no-such-folder", random_model)


def test_it_is_known_before_anything_is_loaded(tmp_path: Path, folders: dict[str, Path]) -> None:
    for name in (OWN, str(folders["clip"]), str(folders["siglip"])):
        check_retriever(name)
    with pytest.raises(UnknownModelError):
        check_retriever("no-such-folder")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(CheckpointError, match="no retriever"):
        check_retriever(str(tmp_path))


def test_missing_weights(tmp_path: Path, random_model: VideoXL) -> None:
    from safetensors.torch import load_file, save_file

    folder = write_retriever(tmp_path, "siglip")
    tensors = load_file(folder / "model.safetensors")
    del tensors["logit_scale"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="logit_scale"):
        load_retriever(str(folder), random_model)
