"""What is asked: suites in the manner of VNBench (arXiv 2406.09367), each with several variants.

* ``retrieval``: a code shown for one second, the needle. It is asked for at even depths of the clip, from its first
  scene (0) to its last (1), in each of several phrasings. The only suite that needs detail.
* ``ordering``: which scene comes after another, first, last.
* ``exists``: whether a scene is there; absent ones share their colour and shape with scenes that are.
* ``counting``: how many scenes have a colour, or a shape. The bundled model has not learned to count.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from videox2l.video.synthetic import PHRASINGS, SyntheticClip, ask, code_text, name_of

DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Task:
    """A question about a clip with its answer.

    ``chunk``: the scene that holds the answer, where one does. ``depth``: how far into the clip that is, from 0 to 1.
    """

    suite: str
    variant: str
    question: str
    answer: str
    chunk: int | None = None
    depth: float | None = None


Suite = Callable[[SyntheticClip, np.random.Generator], list[Task]]


def _retrieval(clip: SyntheticClip, rng: np.random.Generator) -> list[Task]:
    tasks = []
    for depth in DEPTHS:
        chunk = round(depth * (len(clip.scenes) - 1))
        for variant in rng.permutation(len(PHRASINGS["code"]))[:2]:
            scene, second = clip.scenes[chunk], int(rng.integers(len(clip.scenes[chunk].codes)))
            text = PHRASINGS["code"][variant].format(key=name_of(scene.key), second=second + 1)
            name = f"phrasing {variant + 1}"
            tasks.append(Task("retrieval", name, text, code_text(scene.codes[second]), chunk, depth))
    return tasks


def _ordering(clip: SyntheticClip, rng: np.random.Generator) -> list[Task]:
    asked = [ask(clip, kind, rng) for kind in ("after", "after", "first", "last") if len(clip.scenes) > 1]
    return [Task("ordering", question.kind, question.text, question.answer, question.chunk) for question in asked]


def _exists(clip: SyntheticClip, rng: np.random.Generator) -> list[Task]:
    asked = [ask(clip, "exists", rng) for _ in range(4)]
    return [
        Task("exists", "absent" if found.chunk is None else "present", found.text, found.answer, found.chunk)
        for found in asked
    ]


def _counting(clip: SyntheticClip, rng: np.random.Generator) -> list[Task]:
    tasks = []
    for place, variant in enumerate(("colour", "shape")):
        values = [key[place] for key in clip.keys]
        value = values[int(rng.integers(len(values)))]
        tasks.append(Task("counting", variant, f"How many {value} scenes are there?", str(values.count(value))))
    return tasks


# Add a suite: a function above, one line here.
SUITES: dict[str, Suite] = {
    "retrieval": _retrieval,
    "ordering": _ordering,
    "exists": _exists,
    "counting": _counting,
}

DETAIL = "retrieval"
"""The suite that the claim is about: its answers are not in the gist."""
