"""A model's own chat template, cut where the video, the question and the answer go."""

from __future__ import annotations

import re
from typing import Any

from videox2l.errors import CheckpointError

# Words that no template has.
_QUESTION, _ANSWER, _NEXT = "x2lquestion", "x2lanswer", "x2lnext"


class ChatFormat:
    """Token ids around a video. Only the template carries control tokens; a question is always plain text."""

    def __init__(
        self, tokenizer: Any, video_token: str, *, template: str | None = None, behind_video: str = ""
    ) -> None:
        """``tokenizer`` must treat control tokens as text (``split_special_tokens=True``).

        ``template``: instead of its own. ``behind_video`` is written between a video's last token and what the template
        has there.

        :raises CheckpointError: its chat template cannot be used.
        """
        self._tokenizer = tokenizer
        special = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
        longest_first = sorted(map(re.escape, special), key=len, reverse=True)
        self._special = re.compile(f"({'|'.join(longest_first)})") if special else re.compile("($^)")
        asked = {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": _QUESTION}]}
        answered = {"role": "assistant", "content": [{"type": "text", "text": _ANSWER}]}
        again = {"role": "user", "content": [{"type": "text", "text": _NEXT}]}
        first, both = (_render(tokenizer, said, template) for said in ([asked], [asked, answered, again]))
        before, found, behind = first.partition(video_token)
        if not found or video_token in behind or behind.count(_QUESTION) != 1 or both.count(_ANSWER) != 1:
            raise CheckpointError(f"the chat template does not put one {video_token} in front of the question")
        self._prefix, self._question = before, behind_video + behind
        follow_up = both.partition(_ANSWER)[2]
        # The control token behind an answer ends its turn; the rest of the template belongs to the next question.
        ended = self._special.match(follow_up)
        self._end_of_turn = ended.group() if ended else ""
        self._follow_up = follow_up.removeprefix(self._end_of_turn)

    def prefix_ids(self, opening: str = "") -> list[int]:
        """In front of the video's first token; ``opening`` is written behind the template's part of it."""
        return self._ids(self._prefix + opening)

    def frame_ids(self, text: str) -> list[int]:
        """Text between frames, control tokens included."""
        return self._ids(text)

    def question_ids(self, question: str, *, follow_up: bool = False) -> list[int]:
        """From behind the video, or behind an answer, up to where the next answer begins."""
        if follow_up:
            return self._ids(self._follow_up, _NEXT, question)
        return self._ids(self._question, _QUESTION, question)

    def answer_ids(self, answer: str) -> list[int]:
        """An answer and the end of its turn."""
        return self._ids(_ANSWER + self._end_of_turn, _ANSWER, answer)

    def _ids(self, template: str, word: str = "", text: str = "") -> list[int]:
        ids: list[int] = []
        for part in self._special.split(template):
            if self._special.fullmatch(part):
                ids.append(self._tokenizer.convert_tokens_to_ids(part))
            elif part:
                plain = part.replace(word, text) if word else part
                ids += self._tokenizer(plain, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return ids


def _render(tokenizer: Any, messages: list[dict[str, Any]], template: str | None) -> str:
    try:
        text: str = tokenizer.apply_chat_template(
            messages, chat_template=template, add_generation_prompt=True, tokenize=False
        )
    except Exception as error:  # templates raise what they like
        raise CheckpointError(f"the chat template of this checkpoint cannot be used: {error}") from error
    return text
