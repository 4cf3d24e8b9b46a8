"""The whole of it for one program: an archive that is asked. :func:`videox2l.open` is the way in."""

from videox2l.library.conversation import Conversation
from videox2l.library.explanation import Explanation, Without
from videox2l.library.library import Library
from videox2l.library.stream import AnswerStream
from videox2l.library.video import Video

open = Library.open  # noqa: A001 # meant to be read as `videox2l.open`

__all__ = ["AnswerStream", "Conversation", "Explanation", "Library", "Video", "Without", "open"]
