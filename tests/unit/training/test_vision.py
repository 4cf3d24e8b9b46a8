"""What visual tokens are trained to be: sums of orthogonal vectors, one for each fact that a token shows."""

import numpy as np
import pytest
import torch

from videox2l.training.frame_bank import FrameBank
from videox2l.training.model_config import new_network, raw_config
from videox2l.training.tokenizer import train_tokenizer
from videox2l.training.vision import (
    TOKEN_RMS,
    align_vision,
    alignment_error,
    class_vectors,
    encode_bank,
    token_labels,
    token_targets,
    train_vision,
)
from videox2l.video.synthetic import KEYS, SECONDS_PER_SCENE
from videox2l.video.synthetic_frames import paint

HIDDEN = 128
USED_KEYS = 8


@pytest.fixture(scope="module")
def bank() -> FrameBank:
    codes = np.random.default_rng(0).integers(0, 10, (1, USED_KEYS, SECONDS_PER_SCENE, 3))
    frames = [
        [paint(*KEYS[key], tuple(codes[0, key, s]), s + 1, s, width=64, height=64) for s in range(SECONDS_PER_SCENE)]
        for key in range(USED_KEYS)
    ]
    return FrameBank(np.array(frames)[None], codes)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return new_network(raw_config(train_tokenizer()))


def test_class_vectors_are_orthogonal_and_always_the_same() -> None:
    vectors = torch.cat(list(class_vectors(HIDDEN).values()))
    gram = vectors @ vectors.T
    assert torch.allclose(gram, gram.diag().mean() * torch.eye(len(vectors)), atol=1e-4)
    assert torch.equal(vectors, torch.cat(list(class_vectors(HIDDEN).values())))


def test_targets_tell_every_fact_back() -> None:
    keys, seconds = torch.tensor([0, 13, 79]), torch.tensor([0, 3, 7])
    codes = torch.tensor([[1, 2, 3], [9, 9, 0], [4, 5, 6]])
    labels = token_labels(keys, seconds, codes)
    vectors = class_vectors(HIDDEN)
    targets = token_targets(labels, vectors)
    assert targets[:, 1:].square().mean().sqrt() == pytest.approx(TOKEN_RMS, rel=0.02)
    for fact, label in labels.items():
        told = (targets @ vectors[fact].T).argmax(-1)
        known = label >= 0  # the shape's quadrant shows no digit
        assert torch.equal(told[known], label[known])
        assert bool(known.all()) == (fact != "digit")


def test_both_stages_reduce_their_loss(network, bank) -> None:
    heads_losses: list[float] = []
    train_vision(network, bank, steps=12, seed=0, on_step=lambda _, loss: heads_losses.append(loss))
    assert heads_losses[-1] < heads_losses[0] - 1
    before = alignment_error(network, bank, frames=32, seed=0)
    align_vision(network, bank, steps=4, seed=0)
    assert alignment_error(network, bank, frames=32, seed=0) < min(before, 1.0)


def test_encoded_bank_is_every_frame_by_itself(network, bank) -> None:
    network.eval()
    tokens = encode_bank(network, bank)
    assert tokens.shape == (1, USED_KEYS, SECONDS_PER_SCENE, 4, HIDDEN)
    with torch.no_grad():
        alone = network.visual_tokens(torch.from_numpy(bank.frames_RKSHWC[0, 5, 2])[None])
    assert torch.allclose(tokens[0, 5, 2], alone, atol=1e-4)
