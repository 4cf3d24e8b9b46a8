"""Video-XL's chat format around a video. Only these templates carry control tokens; a question is always plain text."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

PREFIX = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
"""In front of the video: 14 tokens of Qwen2's tokenizer, prefilled once with it."""

BEFORE_QUESTION = "\n"
AFTER_QUESTION = "<|im_end|>\n<|im_start|>assistant\n"
END_OF_TURN = "<|im_end|>"
NEXT_TURN = "\n<|im_start|>"
BEFORE_FOLLOW_UP = "user\n"


def prefix_ids(tokenizer: Any) -> list[int]:
    """Token ids in front of the video."""
    return list(_control(tokenizer, PREFIX))


def question_ids(tokenizer: Any, question: str, *, follow_up: bool = False) -> list[int]:
    """Token ids of a question, up to where the answer begins: right behind the video, or ``follow_up`` of an answer.

    ``split_special_tokens`` makes a control token written in the question ordinary text, so that a question can not
    end its own turn or speak for the system.
    """
    before = _control(tokenizer, NEXT_TURN) if follow_up else ()
    plain = _plain(tokenizer, (BEFORE_FOLLOW_UP if follow_up else BEFORE_QUESTION) + question)
    return [*before, *plain, *_control(tokenizer, AFTER_QUESTION)]


def answer_ids(tokenizer: Any, answer: str) -> list[int]:
    """Token ids of an earlier answer and of the end of its turn. Control tokens written in it are ordinary text."""
    return [*_plain(tokenizer, answer), *_control(tokenizer, END_OF_TURN)]


def stop_ids(tokenizer: Any) -> frozenset[int]:
    """Tokens that end an answer: the end of the turn, and the end of text."""
    names = [END_OF_TURN, tokenizer.eos_token]
    return frozenset(tokenizer.convert_tokens_to_ids(name) for name in names if name is not None)


def _plain(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]


# Templates are few, and to tokenize them takes longer than a short question does.
@lru_cache(maxsize=64)
def _control(tokenizer: Any, template: str) -> tuple[int, ...]:
    # Control tokens by name and never by ``split_special_tokens=False``: a tokenizer keeps that switch as state, so
    # turning it would let a question of another thread through with its control tokens.
    parts = re.split(r"(<\|im_start\|>|<\|im_end\|>)", template)
    texts, controls = parts[::2], parts[1::2]
    ids = _plain(tokenizer, texts[0])
    for control, text in zip(controls, texts[1:], strict=True):
        ids += [tokenizer.convert_tokens_to_ids(control), *_plain(tokenizer, text)]
    return tuple(ids)
