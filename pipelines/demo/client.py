"""The demo's side of the wire: the official OpenAI client, as any program would use it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from videox2l.errors import ConfigError


@dataclass(frozen=True)
class Reply:
    """A complete answer and the evidence that came with it."""

    text: str
    evidence: dict[str, Any]


class Client:
    """Asks one service about its videos."""

    def __init__(self, base_url: str) -> None:
        """Raises :class:`ConfigError` where the OpenAI client is not installed."""
        try:
            from openai import OpenAI
        except ImportError as error:
            raise ConfigError("the demo asks through the OpenAI client: pip install 'videox2l[demo]'") from error
        self._client = OpenAI(base_url=f"{base_url}/v1", api_key="none", max_retries=2)

    def stream(self, video: str, question: str) -> Iterator[str | Reply]:
        """Yield pieces of the answer as they come and, last, the whole :class:`Reply`."""
        text = ""
        evidence: dict[str, Any] = {}
        chunks = self._client.chat.completions.create(
            model="tiny", messages=_about(video, question), stream=True, temperature=0
        )
        for chunk in chunks:
            evidence = (chunk.model_extra or {}).get("videox2l") or evidence
            piece = chunk.choices[0].delta.content if chunk.choices else None
            if piece:
                text += piece
                yield piece
        yield Reply(text, evidence)

    def ask(self, video: str, question: str, select: str) -> Reply:
        """One answer with this selection of chunks."""
        completion = self._client.chat.completions.create(
            model="tiny", messages=_about(video, question), temperature=0, extra_body={"select": select}
        )
        return Reply(completion.choices[0].message.content or "", (completion.model_extra or {})["videox2l"])


def _about(video: str, question: str) -> Any:
    """Typed ``Any``: a ``video_url`` part is an extension that the client's own types do not know."""
    video_part = {"type": "video_url", "video_url": {"url": f"videox2l://{video}"}}
    return [{"role": "user", "content": [video_part, {"type": "text", "text": question}]}]
