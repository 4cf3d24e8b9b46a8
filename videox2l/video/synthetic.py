"""Synthetic clips with known content: real video files, rendered on the spot, and questions whose answers are known.

A clip is a row of scenes of eight seconds. A scene has a *key*, its colour and shape ("the red circle scene"), unique
within the clip, and shows another three-digit code every second. Asking for a code needs detail; asking whether a scene
exists or what comes after it needs the gist. That is what the two compression levels are about.

A clip follows from its seed alone. Seeds from :data:`HELD_OUT_SEED` on are kept for evaluation: nothing is ever trained
on them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal, get_args

import av
import numpy as np
from numpy.typing import NDArray

from videox2l.video.synthetic_frames import COLOURS, SECONDS_PER_SCENE, SHAPES, paint

HELD_OUT_SEED = 1_000_000
"""Seeds below are for training, this one and those above for evaluation."""

Code = tuple[int, int, int]
Key = tuple[str, str]
KEYS: tuple[Key, ...] = tuple((colour, shape) for colour in COLOURS for shape in SHAPES)
"""Every (colour, shape) there is. More than the longest clips have scenes, so that some are always absent."""

QuestionKind = Literal["code", "exists", "after", "first", "last"]
QUESTION_KINDS: tuple[QuestionKind, ...] = get_args(QuestionKind)

PHRASINGS: dict[QuestionKind, tuple[str, ...]] = {
    "code": (
        "What is the code in second {second} of the {key} scene?",
        "Which code is shown in second {second} of the {key} scene?",
        "Read the code in second {second} of the {key} scene.",
        "In the {key} scene, what is the code in second {second}?",
    ),
    "exists": (
        "Is there a {key} scene?",
        "Does a {key} scene appear in the video?",
        "Can you see a {key} scene in the video?",
    ),
    "after": (
        "Which scene comes right after the {key} scene?",
        "What comes right after the {key} scene?",
        "Which scene follows the {key} scene?",
    ),
    "first": ("Which scene is the first?", "What is the first scene of the video?"),
    "last": ("Which scene is the last?", "What is the last scene of the video?"),
}


@dataclass(frozen=True)
class Scene:
    """Eight seconds of one colour and shape; ``codes[s - 1]`` is shown during second ``s`` of the scene."""

    colour: str
    shape: str
    codes: tuple[Code, ...]

    @property
    def key(self) -> Key:
        return self.colour, self.shape


@dataclass(frozen=True)
class Question:
    """A question in plain English with its answer.

    ``chunk`` is the scene that holds the answer, where one does; ``second`` (from 1) the second of it, for codes.
    """

    kind: QuestionKind
    text: str
    answer: str
    chunk: int | None
    second: int | None = None


@dataclass(frozen=True)
class SyntheticClip:
    """What a clip shows, from which both its frames and its questions follow."""

    scenes: tuple[Scene, ...]

    @classmethod
    def from_seed(cls, seed: int, n_scenes: int) -> SyntheticClip:
        """The clip of this seed: ``n_scenes`` different keys in random order, random codes."""
        if not 1 <= n_scenes <= len(KEYS):
            raise ValueError(f"a clip has 1 to {len(KEYS)} scenes, because its keys are unique; got {n_scenes}")
        rng = np.random.default_rng([seed, n_scenes])
        order = rng.permutation(len(KEYS))[:n_scenes]
        codes = rng.integers(0, 10, (n_scenes, SECONDS_PER_SCENE, 3))
        return cls(
            tuple(
                Scene(KEYS[key][0], KEYS[key][1], tuple((int(a), int(b), int(c)) for a, b, c in scene_codes))
                for key, scene_codes in zip(order, codes, strict=True)
            )
        )

    @property
    def duration_s(self) -> int:
        return len(self.scenes) * SECONDS_PER_SCENE

    @property
    def keys(self) -> tuple[Key, ...]:
        return tuple(scene.key for scene in self.scenes)

    def frame_at(self, time_s: float, *, width: int = 320, height: int = 240) -> NDArray[np.uint8]:
        """The RGB picture [height, width, 3] on display at ``time_s``."""
        scene_index, second = divmod(int(time_s), SECONDS_PER_SCENE)
        scene = self.scenes[scene_index]
        return paint(scene.colour, scene.shape, scene.codes[second], second + 1, time_s, width=width, height=height)


def frames(clip: SyntheticClip, *, fps: int = 8, width: int = 320, height: int = 240) -> Iterator[NDArray[np.uint8]]:
    """All frames of a clip in order. The frame at exactly k seconds already shows the code of the new second."""
    for index in range(clip.duration_s * fps):
        yield clip.frame_at(index / fps, width=width, height=height)


def render(
    clip: SyntheticClip, path: str | Path, *, fps: int = 8, width: int = 320, height: int = 240, crf: int = 23
) -> None:
    """Write the clip as an H.264 file, frame by frame: memory use does not grow with the clip's length."""
    with av.open(str(path), "w") as container:
        # x264's faster code for this processor gave other bytes from one call to the next.
        options = {"crf": str(crf), "preset": "veryfast", "x264-params": "cpu-independent=1"}
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        # One thread: with more, x264's output depends on their number, and clips should follow from the seed alone.
        stream.thread_count = 1
        stream.time_base = Fraction(1, fps)
        for index, picture in enumerate(frames(clip, fps=fps, width=width, height=height)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def name_of(key: Key) -> str:
    """How a person says it: ``red circle``."""
    return " ".join(key)


def code_text(code: Code) -> str:
    """A code as an answer: ``4 7 1``."""
    return " ".join(str(digit) for digit in code)


def questions(clip: SyntheticClip, seed: int, *, count: int = 16, code_share: float = 0.7) -> list[Question]:
    """``count`` questions about the clip: a share of them for codes, the others in equal parts of the other kinds."""
    rng = np.random.default_rng([seed, len(clip.scenes), count])
    others = [kind for kind in QUESTION_KINDS if kind != "code" and not (kind == "after" and len(clip.scenes) < 2)]
    kinds: list[QuestionKind] = [
        "code" if rng.random() < code_share else others[rng.integers(len(others))] for _ in range(count)
    ]
    return [ask(clip, kind, rng) for kind in kinds]


def ask(
    clip: SyntheticClip,
    kind: QuestionKind,
    rng: np.random.Generator,
    *,
    code_scenes: Sequence[int] | None = None,
    hard_share: float = 1.0,
) -> Question:
    """One random question of this kind.

    ``code_scenes`` restricts which scenes are asked for their codes; ``hard_share`` as in :func:`pick_key`.
    """
    scenes = clip.scenes
    phrasing = PHRASINGS[kind][rng.integers(len(PHRASINGS[kind]))]
    if kind == "code":
        choice = code_scenes or range(len(scenes))
        chunk, second = choice[int(rng.integers(len(choice)))], int(rng.integers(SECONDS_PER_SCENE))
        text = phrasing.format(key=name_of(scenes[chunk].key), second=second + 1)
        return Question(kind, text, code_text(scenes[chunk].codes[second]), chunk, second + 1)
    if kind == "exists":
        key, present = pick_key(clip.keys, rng, hard_share)
        return Question(kind, phrasing.format(key=name_of(key)), "Yes" if present is not None else "No", present)
    if kind == "after":
        chunk = int(rng.integers(len(scenes) - 1)) + 1
        text = phrasing.format(key=name_of(scenes[chunk - 1].key))
        return Question(kind, text, f"the {name_of(scenes[chunk].key)}", chunk)
    chunk = 0 if kind == "first" else len(scenes) - 1
    return Question(kind, phrasing, f"the {name_of(scenes[chunk].key)}", chunk)


def pick_key(keys: tuple[Key, ...], rng: np.random.Generator, hard_share: float = 1.0) -> tuple[Key, int | None]:
    """A key for an "exists" question and where it is in the clip: present half of the time.

    ``hard_share`` of the absent keys are hard ones where possible: their colour and their shape both occur in the clip,
    only not together, so that neither alone gives the answer away. The others are any absent keys. Hard ones alone are
    an exclusive-or, which a model that has yet to learn colours and shapes cannot start from.
    """
    absent = [key for key in KEYS if key not in keys]
    if not absent or rng.random() < 0.5:
        index = int(rng.integers(len(keys)))
        return keys[index], index
    if rng.random() >= hard_share:
        return absent[rng.integers(len(absent))], None
    colours, shapes = {colour for colour, _ in keys}, {shape for _, shape in keys}
    hard = [key for key in absent if key[0] in colours and key[1] in shapes]
    half = [key for key in absent if key[0] in colours or key[1] in shapes]
    pool = hard or half or absent
    return pool[rng.integers(len(pool))], None


def normalise(answer: str) -> str:
    """What grading compares: lower case, without punctuation, articles, "scene" and extra spaces."""
    letters = "".join(char if char.isalnum() else " " for char in answer.lower())
    return " ".join(word for word in letters.split() if word not in ("the", "a", "scene"))
