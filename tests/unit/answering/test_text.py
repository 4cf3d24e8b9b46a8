from __future__ import annotations

from videox2l.answering.text import TextStream
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
