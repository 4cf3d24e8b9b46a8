"""Synthetic clips: the file shows what the clip says, and questions have the answers that it shows."""

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from videox2l.video.synthetic import (
    HELD_OUT_SEED,
    KEYS,
    PHRASINGS,
    QUESTION_KINDS,
    SyntheticClip,
    ask,
    code_text,
    frames,
    name_of,
    normalise,
    pick_key,
    questions,
    render,
)
from videox2l.video.synthetic_frames import COLOURS, SECONDS_PER_SCENE, SHAPES, paint


@pytest.fixture(scope="module")
def clip() -> SyntheticClip:
    return SyntheticClip.from_seed(HELD_OUT_SEED + 5, 2)


@pytest.fixture(scope="module")
def pictures(clip: SyntheticClip, tmp_path_factory: pytest.TempPathFactory) -> dict[float, np.ndarray]:
    """Decoded frames of the rendered file by presentation time."""
    path: Path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    render(clip, path, fps=4)
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        return {frame.time: frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)}


def test_file_has_every_frame_at_its_time(clip, pictures) -> None:
    assert list(pictures) == [index / 4 for index in range(clip.duration_s * 4)]
    assert pictures[0.0].shape == (240, 320, 3)


@pytest.mark.parametrize("second", range(2 * SECONDS_PER_SCENE))
def test_frame_at_a_whole_second_shows_the_code_of_that_second(clip, pictures, second) -> None:
    """The decoded picture is nearest to the painting with the right code, among all others of the scene."""
    scene, shown = clip.scenes[second // SECONDS_PER_SCENE], second % SECONDS_PER_SCENE

    def distance(candidate: int) -> float:
        painted = paint(*scene.key, scene.codes[candidate], candidate + 1, second, width=320, height=240)
        return float(np.abs(painted.astype(int) - pictures[float(second)]).mean())

    distances = [distance(candidate) for candidate in range(SECONDS_PER_SCENE)]
    assert np.argmin(distances) == shown
    assert distances[shown] < 6  # compression and noise: a few grey levels


def test_the_picture_moves_between_whole_seconds(pictures) -> None:
    assert np.abs(pictures[1.0].astype(int) - pictures[1.25]).mean() > 1


@pytest.mark.parametrize(("width", "height"), [(160, 120), (320, 240), (640, 360)])
def test_layout_does_not_depend_on_the_size(width: int, height: int) -> None:
    small = paint("blue", "heart", (1, 2, 3), 4, 2.0, width=width, height=height)
    large = paint("blue", "heart", (1, 2, 3), 4, 2.0, width=2 * width, height=2 * height)
    shrunk = np.asarray(Image.fromarray(large).resize((width, height), Image.Resampling.BOX))
    assert np.abs(shrunk.astype(int) - small).mean() < 12


def test_all_keys_look_different() -> None:
    views = [
        paint(colour, shape, (8, 8, 8), 8, 0.0, width=64, height=64)[:32, :32].astype(int)
        for colour in COLOURS
        for shape in SHAPES
    ]
    for index, view in enumerate(views):
        assert all(np.abs(view - other).mean() > 2.5 for other in views[index + 1 :])


def test_unknown_shape_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="blob"):
        paint("red", "blob", (1, 2, 3), 1, 0.0, width=64, height=64)


def test_frames_are_painted_as_they_are_asked_for() -> None:
    stream = frames(SyntheticClip.from_seed(1, 80), width=32, height=24)
    assert next(stream).shape == (24, 32, 3)


def test_same_seed_same_clip_other_seed_other_clip() -> None:
    assert SyntheticClip.from_seed(3, 8) == SyntheticClip.from_seed(3, 8)
    assert SyntheticClip.from_seed(3, 8) != SyntheticClip.from_seed(4, 8)


@pytest.mark.parametrize("scenes", [1, 16, len(KEYS)])
def test_keys_are_unique_within_a_clip(scenes: int) -> None:
    clip = SyntheticClip.from_seed(0, scenes)
    assert len(set(clip.keys)) == scenes
    assert clip.duration_s == scenes * SECONDS_PER_SCENE


@pytest.mark.parametrize("scenes", [0, len(KEYS) + 1])
def test_impossible_lengths_are_refused(scenes: int) -> None:
    with pytest.raises(ValueError, match="unique"):
        SyntheticClip.from_seed(0, scenes)


@pytest.mark.parametrize("scenes", [1, 2, 8, 64])
def test_answers_are_what_the_clip_shows(scenes: int) -> None:
    clip = SyntheticClip.from_seed(HELD_OUT_SEED, scenes)
    asked = questions(clip, seed=1, count=200, code_share=0.4)
    assert {question.kind for question in asked} == set(QUESTION_KINDS) - ({"after"} if scenes == 1 else set())
    for question in asked:
        named = [key for key in KEYS if name_of(key) in question.text]
        if question.kind == "code":
            second = int(next(char for char in question.text if char.isdigit()))
            assert question.answer == code_text(clip.scenes[question.chunk].codes[second - 1])
            assert [clip.keys[question.chunk]] == named
        elif question.kind == "exists":
            assert question.answer == ("Yes" if named[0] in clip.keys else "No")
        elif question.kind == "after":
            assert question.answer == f"the {name_of(clip.keys[clip.keys.index(named[0]) + 1])}"
        else:
            assert question.answer == f"the {name_of(clip.keys[0 if question.kind == 'first' else -1])}"


def test_questions_are_varied_and_repeatable() -> None:
    clip = SyntheticClip.from_seed(2, 16)
    asked = questions(clip, seed=7, count=300)
    assert asked == questions(clip, seed=7, count=300)
    assert 0.6 < sum(question.kind == "code" for question in asked) / 300 < 0.8
    for kind in QUESTION_KINDS:
        starts = {question.text.split()[0] for question in asked if question.kind == kind}
        assert len(starts) == len({phrasing.split()[0] for phrasing in PHRASINGS[kind]})


def test_absent_keys_are_hard_and_half_of_all() -> None:
    clip = SyntheticClip.from_seed(2, 16)
    rng = np.random.default_rng(0)
    picked = [pick_key(clip.keys, rng) for _ in range(400)]
    absent = [key for key, place in picked if place is None]
    assert 0.4 < len(absent) / 400 < 0.6
    for colour, shape in absent:
        assert (colour, shape) not in clip.keys
        assert any(colour == key[0] for key in clip.keys)
        assert any(shape == key[1] for key in clip.keys)


def test_codes_can_be_asked_of_certain_scenes_only() -> None:
    clip = SyntheticClip.from_seed(2, 16)
    rng = np.random.default_rng(0)
    assert {ask(clip, "code", rng, code_scenes=[3, 5]).chunk for _ in range(50)} == {3, 5}


@pytest.mark.parametrize(
    ("given", "same"),
    [
        ("The Green Square.", "the green square"),
        ("4, 7 1", "4 7 1"),
        ("yes", "Yes"),
        ("the red star scene", "red star"),
    ],
)
def test_grading_ignores_case_and_punctuation(given: str, same: str) -> None:
    assert normalise(given) == normalise(same)
    assert normalise("4 7 1") != normalise("4 7 2")


def test_a_clip_is_the_same_file_every_time(tmp_path: Path) -> None:
    clip = SyntheticClip.from_seed(3, 4)  # long enough for x264's faster code to differ in most of six calls
    written = set()
    for _ in range(6):
        render(clip, tmp_path / "clip.mp4", fps=2)
        written.add((tmp_path / "clip.mp4").read_bytes())
    assert len(written) == 1
