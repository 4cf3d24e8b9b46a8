"""The tiny model's tokenizer: Qwen2's kind (byte-level BPE, digits apart), trained on its own questions and answers.

Words of the question templates become single tokens, so a question is some twenty tokens; any other text still
tokenises, byte by byte if need be.
"""

from __future__ import annotations

from collections.abc import Iterator

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from videox2l.models.video_xl.prompt import AFTER_QUESTION, BEFORE_QUESTION, END_OF_TURN, PREFIX
from videox2l.video.synthetic import KEYS, PHRASINGS, name_of

END_OF_TEXT = "<|endoftext|>"
_START_OF_TURN = "<|im_start|>"

# Above what the vocabulary of the templates needs: training stops by itself when no pair is left to merge.
_MAX_VOCABULARY = 768

# Qwen2's pre-tokenisation: contractions, words with their leading space, single digits, punctuation, line ends, spaces.
_QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def train_tokenizer() -> PreTrainedTokenizerFast:
    """Train it. The result depends on the question templates alone."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_QWEN2_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_MAX_VOCABULARY,
        special_tokens=[END_OF_TEXT, _START_OF_TURN, END_OF_TURN],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END_OF_TURN, pad_token=END_OF_TEXT, clean_up_tokenization_spaces=False
    )


def _corpus() -> Iterator[str]:
    text = PREFIX + AFTER_QUESTION
    for special in (_START_OF_TURN, END_OF_TURN):
        text = text.replace(special, "\x00")
    yield from (part for part in text.split("\x00") for _ in range(2))
    for key in KEYS:
        name = name_of(key)
        yield f"the {name}"
        for phrasings in PHRASINGS.values():
            yield from (BEFORE_QUESTION + text.format(key=name, second=1) for text in phrasings)
    yield from ("Yes", "No", "Yes", "No")
