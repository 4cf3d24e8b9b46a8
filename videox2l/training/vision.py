"""First stage: teach the vision tower and projector to put into each visual token what its quadrant shows.

Every token must tell the scene's colour and shape, the second, its quadrant and its own digit, each by a linear head.
So any stretch of visual tokens says of itself what it is a picture of, and the language model only has to move that
around. Afterwards vision stays frozen and the frame bank is turned into visual tokens once.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from videox2l.models.video_xl.network import VideoXLNetwork
from videox2l.training.frame_bank import FrameBank
from videox2l.training.model_config import TOKENS_PER_FRAME
from videox2l.video.synthetic import SECONDS_PER_SCENE
from videox2l.video.synthetic_frames import COLOURS, SHAPES

_BATCH_FRAMES = 64
_LEARNING_RATE = 1e-3
_WARMUP_STEPS = 50
TOKEN_RMS = 0.5
"""Root mean square of a visual token's entries once vision is trained."""
_VECTOR_SEED = 7
_ALIGNMENT_RATE = 1.5e-3
_ALIGNMENT_BATCH_FRAMES = 256
_NOTHING = -100  # cross entropy's own "no label here": the shape's quadrant shows no digit

HEAD_CLASSES = {
    "colour": len(COLOURS),
    "shape": len(SHAPES),
    "second": SECONDS_PER_SCENE,
    "quadrant": TOKENS_PER_FRAME,
    "digit": 10,
}


class TokenHeads(nn.Module):
    """One linear classifier per fact, on top of each visual token; needed for this stage only."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({name: nn.Linear(hidden, classes) for name, classes in HEAD_CLASSES.items()})

    def forward(self, tokens_FPN: torch.Tensor) -> dict[str, torch.Tensor]:
        return {name: head(tokens_FPN) for name, head in self.heads.items()}


def token_labels(keys_F: torch.Tensor, seconds_F: torch.Tensor, codes_F3: torch.Tensor) -> dict[str, torch.Tensor]:
    """What each of a frame's tokens should tell; every entry is [F, P]."""
    frames = len(keys_F)

    def same_for_all(values_F: torch.Tensor) -> torch.Tensor:
        return values_F[:, None].expand(frames, TOKENS_PER_FRAME)

    return {
        "colour": same_for_all(keys_F // len(SHAPES)),
        "shape": same_for_all(keys_F % len(SHAPES)),
        "second": same_for_all(seconds_F),
        "quadrant": torch.arange(TOKENS_PER_FRAME).expand(frames, -1),
        "digit": torch.cat([codes_F3.new_full((frames, 1), _NOTHING), codes_F3], dim=1),
    }


def sample_frames(
    bank: FrameBank, count: int, rng: np.random.Generator
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """``count`` random frames [F, S, S, 3] and their labels."""
    renderings, keys, seconds = bank.codes_RKS3.shape[:3]
    r, k, s = rng.integers(renderings, size=count), rng.integers(keys, size=count), rng.integers(seconds, size=count)
    frames = torch.from_numpy(np.ascontiguousarray(bank.frames_RKSHWC[r, k, s]))
    labels = token_labels(torch.from_numpy(k), torch.from_numpy(s), torch.from_numpy(bank.codes_RKS3[r, k, s]))
    return frames, labels


def train_vision(
    network: VideoXLNetwork,
    bank: FrameBank,
    *,
    steps: int,
    seed: int,
    on_step: Callable[[int, float], None] | None = None,
) -> TokenHeads:
    """Train ``vision_tower`` and ``projector`` for ``steps`` batches; returns the heads, to measure with."""
    rng = np.random.default_rng([seed, 1])
    heads = TokenHeads(network.config.text.hidden_size)
    parameters = [*network.vision_tower.parameters(), *network.projector.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=_LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
    for step in range(steps):
        frames, labels = sample_frames(bank, _BATCH_FRAMES, rng)
        tokens_FPN = network._encode(frames)  # in one batch: the public method splits it, which costs a third
        logits = heads(tokens_FPN)
        losses = [
            nn.functional.cross_entropy(logits[name].flatten(0, 1), labels[name].flatten()) for name in HEAD_CLASSES
        ]
        loss = torch.stack(losses).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        if on_step is not None:
            on_step(step, loss.item())
    return heads


def _rate(step: int, steps: int) -> float:
    warm = min(1.0, (step + 1) / _WARMUP_STEPS)
    return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, step / max(1, steps))))


@torch.inference_mode()
def token_accuracy(
    network: VideoXLNetwork, heads: TokenHeads, bank: FrameBank, *, frames: int, seed: int
) -> dict[str, float]:
    """How often each head is right on random frames of ``bank``."""
    pictures, labels = sample_frames(bank, frames, np.random.default_rng([seed, 2]))
    logits = heads(network.visual_tokens(pictures).unflatten(0, (frames, TOKENS_PER_FRAME)))
    result = {}
    for name, target in labels.items():
        valid = target != _NOTHING
        result[name] = float((logits[name].argmax(-1) == target)[valid].float().mean())
    return result


@torch.inference_mode()
def encode_bank(network: VideoXLNetwork, bank: FrameBank) -> torch.Tensor:
    """Visual tokens [renderings, keys, seconds, tokens a frame, hidden] of a whole bank."""
    renderings, keys, seconds = bank.codes_RKS3.shape[:3]
    rows = []
    for rendering in range(renderings):
        frames = torch.from_numpy(bank.frames_RKSHWC[rendering].copy()).flatten(0, 1)
        rows.append(network.visual_tokens(frames).unflatten(0, (keys, seconds, TOKENS_PER_FRAME)))
    return torch.stack(rows)


def class_vectors(hidden: int) -> dict[str, torch.Tensor]:
    """One fixed vector for every class of every fact, all orthogonal: ``[classes, hidden]`` by fact."""
    generator = torch.Generator().manual_seed(_VECTOR_SEED)
    orthonormal, _ = torch.linalg.qr(torch.randn(hidden, hidden, generator=generator))
    scaled = orthonormal * TOKEN_RMS * (hidden / len(HEAD_CLASSES)) ** 0.5
    used = scaled[: sum(HEAD_CLASSES.values())].split(list(HEAD_CLASSES.values()))
    return dict(zip(HEAD_CLASSES, used, strict=True))


def token_targets(labels: dict[str, torch.Tensor], vectors: dict[str, torch.Tensor]) -> torch.Tensor:
    """The sum of what each token shows, [F, P, N]."""
    parts = [vectors[fact][label.clamp(min=0)] * (label >= 0)[..., None] for fact, label in labels.items()]
    return torch.stack(parts).sum(0)


def align_vision(
    network: VideoXLNetwork,
    bank: FrameBank,
    *,
    steps: int,
    seed: int,
    on_step: Callable[[int, float], None] | None = None,
) -> None:
    """Turn visual tokens into sums of :func:`class_vectors`, starting from what :func:`train_vision` has learned.

    Its heads can tell ten colours apart that lie in a few dimensions, close to each other. Attention compares by inner
    products, for which classes at right angles are far easier to match.
    """
    rng = np.random.default_rng([seed, 5])
    vectors = class_vectors(network.config.text.hidden_size)
    _fold_least_squares(network, bank, vectors, rng)
    parameters = [*network.vision_tower.parameters(), *network.projector.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=_ALIGNMENT_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
    for step in range(steps):
        frames, labels = sample_frames(bank, _ALIGNMENT_BATCH_FRAMES, rng)
        target_FPN = token_targets(labels, vectors)
        loss = (network._encode(frames) - target_FPN).square().mean() / target_FPN.square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        if on_step is not None:
            on_step(step, loss.item())


@torch.no_grad()
def _fold_least_squares(
    network: VideoXLNetwork, bank: FrameBank, vectors: dict[str, torch.Tensor], rng: np.random.Generator
) -> None:
    """Fold the best affine map from today's tokens to their targets into the projector's last layer."""
    frames, labels = sample_frames(bank, 2048, rng)
    tokens_XN = network.visual_tokens(frames)
    with_one = torch.cat([tokens_XN, tokens_XN.new_ones(len(tokens_XN), 1)], dim=1)
    ridge = 0.1 * torch.eye(with_one.shape[1])
    map_XN = torch.linalg.solve(
        with_one.T @ with_one + ridge, with_one.T @ token_targets(labels, vectors).flatten(0, 1)
    )
    last = network.projector[2]
    assert isinstance(last, nn.Linear)
    last.bias.copy_(last.bias @ map_XN[:-1] + map_XN[-1])
    last.weight.copy_(map_XN[:-1].T @ last.weight)


@torch.inference_mode()
def alignment_error(network: VideoXLNetwork, bank: FrameBank, *, frames: int, seed: int) -> float:
    """Share of the tokens' energy that is not what they should be."""
    pictures, labels = sample_frames(bank, frames, np.random.default_rng([seed, 6]))
    target_XN = token_targets(labels, class_vectors(network.config.text.hidden_size)).flatten(0, 1)
    return float((network.visual_tokens(pictures) - target_XN).square().mean() / target_XN.square().mean())
