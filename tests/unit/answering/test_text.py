from __future__ import annotations

import pytest

from videox2l.answering.sampling import Pick
from videox2l.answering.text import AnswerText, TextStream
from videox2l.config import GenerationConfig
from videox2l.models.video_xl.model import VideoXL


def test_no_half_characters(random_model: VideoXL) -> None:
    """One token a byte: every character beyond ASCII arrives in pieces."""
    text = "naïve – 視頻 🎬!"
    stream = TextStream(random_model.tokenizer)
    pieces = [stream.push(token) for token in random_model.tokenizer(text, add_special_tokens=False)["input_ids"]]
    assert "".join(pieces) + stream.finish() == text
    assert "\N{REPLACEMENT CHARACTER}" not in "".join(pieces)
    assert pieces.count("") > 0


def test_an_answer_that_ends_in_half_a_character_is_not_lost(random_model: VideoXL) -> None:
    tokens = random_model.tokenizer("ok🎬", add_special_tokens=False)["input_ids"][:-1]
    stream = TextStream(random_model.tokenizer)
    shown = "".join(stream.push(token) for token in tokens) + stream.finish()
    assert shown == stream.text
    assert shown.startswith("ok")


def test_decoding_takes_no_longer_as_the_text_grows(random_model: VideoXL) -> None:
    """Each token is decoded with those of its character and the one before it, not with the whole text."""

    class Counting:
        longest = 0

        def decode(self, ids: list[int], **options: bool) -> str:
            self.longest = max(self.longest, len(ids))
            return str(random_model.tokenizer.decode(ids, **options))

    counting = Counting()
    text = "naïve – 視頻 🎬!" * 20
    stream = TextStream(counting)
    shown = "".join(stream.push(token) for token in ids_of(random_model, text)) + stream.finish()
    assert shown == text
    assert counting.longest <= 8


@pytest.mark.parametrize(
    ("text", "stop", "expected"),
    [
        ("one two three", ("two",), "one "),
        ("one two three", ("three", "o th"), "one tw"),
        ("one two three", ("four", "e\n"), "one two three"),
        ("aaab", ("aab",), "a"),
        ("ab", ("ab",), ""),
        ("naïve 🎬 film", ("🎬",), "naïve "),
        ("ends with sto", ("stop",), "ends with sto"),
    ],
)
def test_a_stop_text_ends_the_answer_and_none_of_it_is_shown(
    random_model: VideoXL, text: str, stop: tuple[str, ...], expected: str
) -> None:
    answer = AnswerText(random_model.tokenizer, GenerationConfig(100, stop=stop, logprobs=0))
    shown, told = "", []
    for token in ids_of(random_model, text):
        if delta := answer.push(Pick(token, -1.0)):
            shown += delta.text
            told += delta.logprobs
            assert expected.startswith(shown)  # never taken back
        if answer.stopped:
            break
    if delta := answer.finish():
        shown += delta.text
        told += delta.logprobs
    assert shown == answer.text == expected
    assert answer.stopped == (expected != text)
    assert answer.finish_reason == "stop"
    assert b"".join(bytes(token.bytes) for token in told).decode() == expected
    assert told == answer.logprobs


def ids_of(model: VideoXL, text: str) -> list[int]:
    """One token a byte."""
    return list(model.tokenizer(text, add_special_tokens=False)["input_ids"])
