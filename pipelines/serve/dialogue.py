"""The turns of a conversation, out of its messages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipelines.serve.errors import RequestError
from pipelines.serve.schema.chat import Message, TextPart, VideoPart
from videox2l.answering import Turn


def read_turns(messages: Sequence[Message]) -> tuple[tuple[Turn, ...], str]:
    """Earlier turns, and the question.

    :raises RequestError: the messages are none of a conversation that this service can go on with.
    """
    spoken = [message for message in messages if not _is_empty_instruction(message)]
    expected = ["user", "assistant"] * len(spoken)
    for message, role in zip(spoken, expected, strict=False):
        if message.role != role:
            there = f"a message of role {message.role!r} where {role!r} is due"
            raise RequestError(f"{there}: user and assistant take turns, beginning and ending with user.", "messages")
    if len(spoken) % 2 == 0:
        problem = "the last message is the assistant's" if spoken else "there is no user message"
        raise RequestError(f"{problem}: end with a question of the user.", "messages")
    texts = [_text(message) for message in spoken]
    turns = tuple(Turn(question, answer) for question, answer in zip(texts[:-1:2], texts[1::2], strict=True))
    return turns, texts[-1]


def _is_empty_instruction(message: Message) -> bool:
    if message.role in ("tool", "function"):
        raise RequestError(f"messages of role {message.role!r} are not supported: there are no tools.", "messages")
    if message.role not in ("system", "developer"):
        return False
    if _text(message).strip():
        raise RequestError(
            "system messages are not supported: the text in front of a video is part of its stored KVs. "
            "Put instructions into the question.",
            "messages",
        )
    return True


def _text(message: Message) -> str:
    return "\n".join(_texts(message))


def _texts(message: Message) -> Iterator[str]:
    if isinstance(message.content, str):
        yield message.content
    for part in message.content if isinstance(message.content, list) else ():
        if isinstance(part, TextPart):
            yield part.text
        elif isinstance(part, VideoPart) and message.role != "user":
            raise RequestError("only a user's message may name a video", "messages")
