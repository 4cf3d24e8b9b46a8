"""The whole of it for one program: an archive that is asked. :func:`videox2l.open` is the way in."""

from videox2l.library.conversation import Conversation
from videox2l.library.explanation import Explanation, Without
from videox2l.library.library import Library, open  # noqa: A004
from videox2l.library.stream import AnswerStream
from videox2l.library.video import Video

__all__ = ["AnswerStream", "Conversation", "Explanation", "Library", "Video", "Without", "open"]
