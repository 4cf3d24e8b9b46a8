"""From tokens to text that never has to be taken back, with stop texts and log probabilities."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

from videox2l.answering.answer import FinishReason, TextDelta, TokenLogprob
from videox2l.answering.sampling import Pick
from videox2l.answering.stopwatch import Stopwatch
from videox2l.config import GenerationConfig

_HALF = "\N{REPLACEMENT CHARACTER}"


class TextStream:
    """Turn tokens into certain text: a token may hold part of a character, and decode otherwise behind another."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        # Decoding all tokens for each new one would take quadratic time: only those behind the last certain piece are,
        # and that piece's own as their context.
        self._window: list[int] = []
        self._context = 0
        self._shown = 0
        self.text = ""

    def push(self, token: int) -> str:
        """The new certain text after ``token``; empty while a character is incomplete."""
        self._window.append(token)
        text = self._decode(self._window)
        if text.endswith(_HALF):
            return ""
        new = self._advance(text)
        self._window = self._window[self._context :]
        self._context = len(self._window)
        self._shown = len(self._decode(self._window))
        return new

    def finish(self) -> str:
        """What was held back, when no more tokens come."""
        return self._advance(self._decode(self._window))

    def _advance(self, text: str) -> str:
        new, self._shown = text[self._shown :], len(text)
        self.text += new
        return new

    def _decode(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


class AnswerText:
    """An answer as it grows: certain text up to a stop text, and the log probabilities of its tokens."""

    def __init__(self, tokenizer: Any, generation: GenerationConfig) -> None:
        self._tokenizer = tokenizer
        self._stream = TextStream(tokenizer)
        self._stop, self._limit = generation.stop, generation.max_new_tokens
        self._waiting: list[tuple[int, TokenLogprob]] = []  # where its text begins, and the token
        self._given = 0
        self.stopped = False
        """Whether a stop text came: no more tokens are wanted."""
        self.tokens = 0
        self.text = ""
        self.logprobs: list[TokenLogprob] | None = None if generation.logprobs is None else []

    def deltas(self, groups: Iterable[Sequence[Pick]], watch: Stopwatch) -> Iterator[TextDelta]:
        """One piece a group of tokens, until they or a stop text end it; the stages are booked."""
        for group in groups:
            if self.tokens == 0:
                watch.lap("question")
                watch.since_start("first_token")
            pieces = [delta for pick in group if not self.stopped and (delta := self.push(pick))]
            if pieces:
                yield _join(pieces)
            if self.stopped:
                break
        if delta := self.finish():
            yield delta
        watch.lap("decode" if self.tokens else "question")
        watch.since_start("total")

    @property
    def finish_reason(self) -> FinishReason:
        """Why there are no more tokens."""
        return "length" if self.tokens == self._limit and not self.stopped else "stop"

    def push(self, pick: Pick) -> TextDelta | None:
        """What is certain now that the next token is ``pick``."""
        self.tokens += 1
        if pick.logprob is not None:
            self._waiting.append((len(self._stream.text), _describe(self._tokenizer, pick)))
        return self._give(self._stream.push(pick.token))

    def finish(self) -> TextDelta | None:
        """What was held back, when no more tokens come."""
        return None if self.stopped else self._give(self._stream.finish(), last=True)

    def _give(self, new: str, *, last: bool = False) -> TextDelta | None:
        seen = self._stream.text
        end = self._find_stop(seen, new)
        if end is None:
            end = len(seen) if last else len(seen) - self._held(seen)
        else:
            self.stopped = True
        ready = [token for begin, token in self._waiting if begin < end or (last and not self.stopped)]
        if end <= self._given and not ready:
            return None
        self._waiting = self._waiting[len(ready) :]
        delta = TextDelta(seen[self._given : end], tuple(ready))
        self._given = max(self._given, end)
        self.text += delta.text
        if self.logprobs is not None:
            self.logprobs += ready
        return delta if delta.text or ready else None

    def _find_stop(self, seen: str, new: str) -> int | None:
        """Where the first stop text begins that ends in ``new``, the end of ``seen``."""
        begin = len(seen) - len(new)
        found = (seen.find(stop, max(0, begin - len(stop) + 1)) for stop in self._stop)
        return min((place for place in found if place >= 0), default=None)

    def _held(self, seen: str) -> int:
        """How many characters at the end of ``seen`` may be the beginning of a stop text."""
        sizes = (size for stop in self._stop for size in range(1, len(stop)) if seen.endswith(stop[:size]))
        return max(sizes, default=0)


def _join(deltas: Sequence[TextDelta]) -> TextDelta:
    text = "".join(delta.text for delta in deltas)
    return TextDelta(text, tuple(token for delta in deltas for token in delta.logprobs))


def _describe(tokenizer: Any, pick: Pick) -> TokenLogprob:
    assert pick.logprob is not None
    top = tuple(TokenLogprob(*_token(tokenizer, token, logprob)) for token, logprob in pick.top)
    return TokenLogprob(*_token(tokenizer, pick.token, pick.logprob), top)


def _token(tokenizer: Any, token: int, logprob: float) -> tuple[str, float, tuple[int, ...]]:
    text = tokenizer.decode([token], clean_up_tokenization_spaces=False)
    return text, logprob, tuple(_exact_bytes(tokenizer, token) if _HALF in text else text.encode())


def _exact_bytes(tokenizer: Any, token: int) -> bytes:
    """Bytes of a token that is no text of its own. Byte-level vocabularies write each byte as a letter."""
    letters = _letters()
    piece = tokenizer.convert_ids_to_tokens(token)
    if all(letter in letters for letter in piece):
        return bytes(letters[letter] for letter in piece)
    if piece.startswith("<0x"):  # byte fallback of SentencePiece
        return bytes([int(piece[3:5], 16)])
    return _HALF.encode()


@cache
def _letters() -> dict[str, int]:
    """The alphabet of byte-level vocabularies (GPT-2's): printable Latin-1 stands for itself, the rest from 256 on."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + place): byte for place, byte in enumerate(others)}
