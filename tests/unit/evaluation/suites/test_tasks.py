"""Answers are those that the clip shows."""

import numpy as np

from videox2l.evaluation.suites.tasks import DEPTHS, SUITES
from videox2l.video.synthetic import SyntheticClip, code_text

CLIP = SyntheticClip.from_seed(2_000_000, 9)


def asked(suite: str):
    rng = np.random.default_rng(3)
    return [task for _ in range(20) for task in SUITES[suite](CLIP, rng)]


def test_codes_are_asked_for_evenly_by_depth_and_are_in_their_scene() -> None:
    tasks = asked("retrieval")
    for depth in DEPTHS:
        here = [task for task in tasks if task.depth == depth]
        assert len(here) == 40
        assert {task.chunk for task in here} == {round(depth * 8)}
    for task in tasks:
        scene = CLIP.scenes[task.chunk]
        assert " ".join(scene.key) in task.question
        assert task.answer in {code_text(code) for code in scene.codes}
    assert len({task.variant for task in tasks}) == 4


def test_counts_are_those_of_the_clip() -> None:
    for task in asked("counting"):
        word = task.question.removeprefix("How many ").removesuffix(" scenes are there?")
        assert int(task.answer) == sum(word in scene.key for scene in CLIP.scenes) > 0


def test_order_and_existence() -> None:
    names = [" ".join(scene.key) for scene in CLIP.scenes]
    for task in asked("ordering"):
        assert task.answer == f"the {names[task.chunk]}"
    for task in asked("exists"):
        assert (task.answer == "Yes") == any(name in task.question for name in names)
        assert task.variant == ("present" if task.answer == "Yes" else "absent")
