"""Video-XL's chat format around a video. Only these templates carry control tokens; a question is always plain text."""

from __future__ import annotations

from typing import Any

PREFIX = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
"""In front of the video: 14 tokens of Qwen2's tokenizer, prefilled once with it."""

BEFORE_QUESTION = "\n"
AFTER_QUESTION = "<|im_end|>\n<|im_start|>assistant\n"
END_OF_TURN = "<|im_end|>"


def prefix_ids(tokenizer: Any) -> list[int]:
    """Token ids in front of the video."""
    return tokenizer(PREFIX, add_special_tokens=False)["input_ids"]


def question_ids(tokenizer: Any, question: str) -> list[int]:
    """Token ids of one question behind the video, up to where the answer begins.

    ``split_special_tokens`` makes a control token written in the question ordinary text, so that a question can not
    end its own turn or speak for the system.
    """
    text = BEFORE_QUESTION + question
    plain = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return plain + tokenizer(AFTER_QUESTION, add_special_tokens=False)["input_ids"]


def stop_ids(tokenizer: Any) -> frozenset[int]:
    """Tokens that end an answer: the end of the turn, and the end of text."""
    names = [END_OF_TURN, tokenizer.eos_token]
    return frozenset(tokenizer.convert_tokens_to_ids(name) for name in names if name is not None)
