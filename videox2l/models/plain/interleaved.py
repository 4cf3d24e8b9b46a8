"""Families that write text around every frame's visual tokens: its number, its time, where a picture begins and ends.

That text is kept dense at both levels. All strings are those of transformers' own processors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch

from videox2l.errors import CheckpointError, ModelError
from videox2l.models.protocol import Timeline


@dataclass(frozen=True)
class FrameText:
    """The text around frames, control tokens included, for a template that has ``video_token`` in the video's place.

    ``before(number, timeline)`` stands in front of frame ``number`` (from 0), ``after`` behind each, ``joint`` between
    two; where a model takes a few frames as one step in time, around each step, by the number of its first frame.
    ``intro(timeline)`` opens the video, ``outro`` closes it. ``template``: instead of the checkpoint's own. ``timed``:
    a video's timeline must be known. ``video_token``: ``None`` for the one that the configuration names.
    """

    video_token: str | None
    before: Callable[[int, Timeline], str]
    after: str
    joint: str = ""
    intro: Callable[[Timeline], str] = lambda _: ""
    outro: str = ""
    template: str | None = None
    timed: bool = False

    def opening(self, timeline: Timeline) -> str:
        """In front of the first frame's tokens, behind the chat template's part."""
        return self.intro(timeline) + self.before(0, timeline)

    def between(self, number: int, timeline: Timeline) -> str:
        """Between the tokens of frame ``number`` - 1 and those of frame ``number``."""
        return self.after + self.joint + self.before(number, timeline)

    @property
    def closing(self) -> str:
        """Behind the last frame's tokens."""
        return self.after + self.outro

    def check(self, timeline: Timeline | None) -> Timeline:
        """The timeline that texts are made of.

        :raises ModelError: it has to be known and is not.
        """
        if timeline is None and self.timed:
            raise ModelError("this model is told when each frame is shown, so its prefill needs the video's timeline")
        return timeline or Timeline((), 0.0)


def internvl_frames(network: Any, pixels_FCHW: torch.Tensor) -> torch.Tensor:
    """Visual tokens ``[F * P, N]``."""
    rows_FPN: torch.Tensor = network.model.get_image_features(pixels_FCHW).pooler_output
    return rows_FPN.flatten(0, 1)


def internvl_text(tokenizer: Any) -> FrameText:
    """``Frame1: <img>…</img>``, a line each."""
    names = ("video_token", "start_image_token", "end_image_token")
    video, start, end = (getattr(tokenizer, name, None) for name in names)
    if not (video and start and end):
        raise CheckpointError(f"the tokenizer does not name its {', '.join(names)}: is this its processor's?")
    return FrameText(video, lambda number, _: f"Frame{number + 1}: {start}", end, joint="\n")


def smolvlm_frames(network: Any, pixels_FCHW: torch.Tensor) -> torch.Tensor:
    """Visual tokens ``[F * P, N]``."""
    return torch.cat(list(network.model.get_image_features(pixels_FCHW[None]).pooler_output))


def smolvlm_text(tokenizer: Any) -> FrameText:
    """An intro that names the number of frames and the duration, and each frame's time in front of it.

    transformers takes a template of its own for a conversation with a video, so that is taken here.
    """
    # Imported once a model of this family is loaded.
    from transformers.models.smolvlm import processing_smolvlm as theirs

    say = _number_words()
    fake: str = getattr(tokenizer, "fake_image_token", "<fake_token_around_image>")
    whole: str = getattr(tokenizer, "global_image_token", "<global-img>")

    def intro(timeline: Timeline) -> str:
        duration = timedelta(seconds=int(timeline.duration_s))
        text: str = theirs.DEFAULT_VIDEO_INTRO.format(
            frame_count=say(len(timeline.times_s)), video_duration=str(duration)
        )
        return text

    def before(number: int, timeline: Timeline) -> str:
        minutes, seconds = divmod(int(timeline.time_s(number)), 60)
        return f"{theirs.FRAME_TIMESTAMP_MESSAGE.format(timestamp=f'{minutes:02d}:{seconds:02d}')}{fake}{whole}"

    return FrameText(
        getattr(tokenizer, "video_token", "<video>"),
        before,
        after=fake,
        intro=intro,
        outro=theirs.DEFAULT_MEDIA_OUTTRO,
        template=theirs.DEFAULT_CHAT_TEMPLATE,
        timed=True,
    )


def _number_words() -> Callable[[int], str]:
    try:
        from num2words import num2words
    except ImportError as error:
        raise ModelError(
            "SmolVLM's prompt has the number of frames in words, for which the package num2words is missing: "
            "pip install num2words"
        ) from error
    words: Callable[[int], str] = num2words
    return words
