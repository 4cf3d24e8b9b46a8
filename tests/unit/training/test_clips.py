"""Composed training clips: tokens, codes, questions and answer rows belong together."""

import numpy as np
import pytest
import torch

from videox2l.models.video_xl.prompt import question_ids
from videox2l.training.clips import QuestionEncoder, TokenBank, compose_clips, sample_batch
from videox2l.training.tokenizer import train_tokenizer
from videox2l.video.synthetic import KEYS, SECONDS_PER_SCENE

RENDERINGS, USED_KEYS, HIDDEN = 3, 6, 8


@pytest.fixture(scope="module")
def bank() -> TokenBank:
    """Visual tokens that spell out where in the bank they come from."""
    shape = (RENDERINGS, USED_KEYS, SECONDS_PER_SCENE)
    place = torch.stack(torch.meshgrid(*(torch.arange(size) for size in shape), indexing="ij"), dim=-1)
    tokens = torch.zeros(*shape, 4, HIDDEN)
    tokens[..., :3] = place[..., None, :].float()
    return TokenBank(tokens, np.random.default_rng(0).integers(0, 10, (*shape, 3)))


@pytest.fixture(scope="module")
def encoder() -> QuestionEncoder:
    return QuestionEncoder(train_tokenizer())


def test_tokens_show_what_the_clip_says(bank) -> None:
    visual_BCWN, shown = compose_clips(bank, clips=4, scenes=5, rng=np.random.default_rng(1))
    assert visual_BCWN.shape == (4, 5, SECONDS_PER_SCENE * 4, HIDDEN)
    for tokens_CWN, clip in zip(visual_BCWN, shown, strict=True):
        assert len(set(clip.keys)) == 5
        for tokens_WN, scene in zip(tokens_CWN, clip.scenes, strict=True):
            for second in range(SECONDS_PER_SCENE):
                rendering, key, at = (int(x) for x in tokens_WN[4 * second, :3])
                assert (KEYS[key], at) == (scene.key, second)
                assert tuple(bank.codes_RKS3[rendering, key, second]) == scene.codes[second]


def test_rows_hold_question_and_answer_and_ask_for_the_answer_only(bank, encoder) -> None:
    batch = sample_batch(bank, encoder, clips=3, scenes=4, questions=9, rng=np.random.default_rng(2))
    tokenizer = train_tokenizer()
    targets = batch.targets_X.tolist()
    assert int(batch.wanted_BJT.sum()) == len(targets)
    for clip, asked in enumerate(batch.questions):
        for index, question in enumerate(asked):
            ids, wanted = batch.ids_BJT[clip, index], batch.wanted_BJT[clip, index]
            before = question_ids(tokenizer, question.text)
            assert ids[: len(before)].tolist() == before
            rows = wanted.nonzero().squeeze(1)
            assert rows[0] == len(before) - 1
            answer = [targets.pop(0) for _ in rows]
            # Teacher forcing: the row after each wanted one holds the token that was asked for.
            assert ids[rows + 1].tolist() == answer
            assert tokenizer.decode(answer) == question.answer + "<|im_end|>"
    assert not targets


def test_codes_are_asked_of_the_given_scenes(bank, encoder) -> None:
    batch = sample_batch(
        bank, encoder, clips=2, scenes=5, questions=20, rng=np.random.default_rng(3), code_scenes=(2, 4)
    )
    asked = {question.chunk for of_clip in batch.questions for question in of_clip if question.kind == "code"}
    assert asked == {2, 4}
