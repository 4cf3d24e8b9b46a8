"""Frames to train on: every key in every second of its scene with many codes, through a real H.264 encoder and decoder.

Rendering is slow next to a training step of a tiny model. So frames are rendered once, and training composes its clips
out of the bank: a scene is a key, and for each of its seconds one of the bank's frames of that key and second.
Frames from training seeds and from held-out seeds are kept apart.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import av
import numpy as np
import torch
from numpy.typing import NDArray

from videox2l.video.synthetic import HELD_OUT_SEED, KEYS, SECONDS_PER_SCENE, SyntheticClip, render

FRAME_SIZE = 64
"""Side of the model's input in pixels; clips are stretched to it, so that nothing of the picture is lost."""

# Two frames a second are enough motion for the codec to predict from, at a quarter of the cost of a natural 8.
_BANK_FPS = 2


@dataclass(frozen=True)
class FrameBank:
    """``frames_RKSHWC``: uint8 frames by rendering, key, second; ``codes_RKS3``: the three digits they show."""

    frames_RKSHWC: NDArray[np.uint8]
    codes_RKS3: NDArray[np.int64]


def load_or_render_bank(folder: Path, *, renderings: int, held_out: bool, keys: int = len(KEYS)) -> FrameBank:
    """The bank of this size, from ``folder`` where it was rendered before.

    Each rendering is one clip that shows every key once, so its neighbours, and with them what the codec predicts from,
    differ between renderings. ``keys`` below the full number makes a small bank for tests.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"bank-{'held-out' if held_out else 'training'}-{keys}x{renderings}-{FRAME_SIZE}px.npy"
    first = HELD_OUT_SEED if held_out else 0
    seeds = range(first, first + renderings)
    if not path.exists():
        with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
            frames = np.stack(list(pool.map(_render_all_keys, seeds, [keys] * renderings)))
        partial = path.with_suffix(".partial.npy")
        np.save(partial, frames)
        partial.replace(path)
    codes = np.stack([_codes_by_key(SyntheticClip.from_seed(seed, len(KEYS)))[:keys] for seed in seeds])
    return FrameBank(np.load(path, mmap_mode="r"), codes)


def frames_at(path: Path, times_s: Sequence[int], size: int = FRAME_SIZE) -> Iterator[NDArray[np.uint8]]:
    """The frames displayed at these whole seconds (ascending), scaled to ``size`` as the decoder of videos does it."""
    wanted = iter(times_s)
    time_s = next(wanted, None)
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            if time_s is not None and frame.time is not None and frame.time >= time_s - 1e-6:
                scaled = frame.reformat(size, size, format="rgb24", interpolation="BICUBIC")
                yield scaled.to_ndarray()
                time_s = next(wanted, None)


def _codes_by_key(clip: SyntheticClip) -> NDArray[np.int64]:
    """Codes [key, second, 3] of a clip that shows every key, in the order of ``KEYS``."""
    place = {key: index for index, key in enumerate(clip.keys)}
    return np.array([clip.scenes[place[key]].codes for key in KEYS])


def _render_all_keys(seed: int, keys: int) -> NDArray[np.uint8]:
    torch.set_num_threads(1)
    clip = SyntheticClip.from_seed(seed, len(KEYS))
    if keys < len(KEYS):  # a small bank: the same scenes without the others
        clip = SyntheticClip(tuple(scene for scene in clip.scenes if KEYS.index(scene.key) < keys))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        render(clip, path, fps=_BANK_FPS)
        frames = np.stack(list(frames_at(path, range(clip.duration_s))))
    by_scene = frames.reshape(len(clip.scenes), SECONDS_PER_SCENE, FRAME_SIZE, FRAME_SIZE, 3)
    order = sorted(range(len(clip.scenes)), key=lambda index: KEYS.index(clip.scenes[index].key))
    result: NDArray[np.uint8] = by_scene[order]
    return result
