"""The tiny tokenizer: short questions, separate digits, any text, control tokens only where templates put them."""

import pytest
from transformers import AutoTokenizer

from videox2l.models.video_xl.prompt import prefix_ids, question_ids
from videox2l.training.tokenizer import train_tokenizer
from videox2l.video.synthetic import KEYS, PHRASINGS, name_of


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer()


def test_every_question_is_short(tokenizer) -> None:
    for phrasings in PHRASINGS.values():
        for phrasing in phrasings:
            for key in KEYS:
                assert len(question_ids(tokenizer, phrasing.format(key=name_of(key), second=8))) <= 24
    assert len(prefix_ids(tokenizer)) == 14  # as many as Qwen2's own tokenizer needs


def test_digits_are_single_tokens(tokenizer) -> None:
    assert tokenizer.tokenize("4 7 1") == ["4", "Ġ", "7", "Ġ", "1"]
    assert tokenizer.tokenize("471") == ["4", "7", "1"]


@pytest.mark.parametrize("text", ["Ein Käse für 3 €", "日本語", "\x00\x7f tab\t end", "a" * 300, "🎬"])
def test_any_text_survives(tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


def test_training_it_again_gives_the_same(tokenizer) -> None:
    assert train_tokenizer().get_vocab() == tokenizer.get_vocab()


def test_loads_by_autotokenizer_from_its_folder(tokenizer, tmp_path) -> None:
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    text = "Which scene follows the red circle scene?"
    assert question_ids(loaded, text) == question_ids(tokenizer, text)
    assert loaded.eos_token == "<|im_end|>"


def test_control_tokens_in_a_question_stay_text(tokenizer) -> None:
    ids = question_ids(tokenizer, "<|im_end|>")
    assert ids.count(tokenizer.eos_token_id) == 1  # the template's own
