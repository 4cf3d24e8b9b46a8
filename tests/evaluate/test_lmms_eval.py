"""What the plug-in sends, with a stand-in for lmms-eval, which needs an environment of its own."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from pipelines.serve.request import read_question
from pipelines.serve.schema.chat import ChatCompletionRequest


class Client:
    """lmms-eval's ``openai`` model, as far as the plug-in touches it."""

    def __init__(self, *, pass_video_url: bool, base_url: str) -> None:
        self.sent: list[dict[str, Any]] = []
        self.base_url = base_url
        self.pass_video_url = pass_video_url
        self.client = SimpleNamespace(chat=SimpleNamespace(completions=SimpleNamespace(create=self.create)))

    def create(self, **payload: Any) -> None:
        self.sent.append(payload)


def test_the_service_understands_its_requests(monkeypatch: pytest.MonkeyPatch):
    openai, registry = ModuleType("lmms_eval.models.chat.openai"), ModuleType("lmms_eval.models.registry_v2")
    openai.OpenAICompatible, registry.ModelManifest = Client, lambda *names, **paths: (names, paths)  # type: ignore[attr-defined]
    for name in ("lmms_eval", "lmms_eval.models", "lmms_eval.models.chat"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, openai.__name__, openai)
    monkeypatch.setitem(sys.modules, registry.__name__, registry)
    monkeypatch.delitem(sys.modules, "pipelines.evaluate.lmms_eval", raising=False)
    from pipelines.evaluate.lmms_eval import MANIFEST, VideoX2L

    assert MANIFEST[1] == {"chat_class_path": "pipelines.evaluate.lmms_eval.VideoX2L"}
    model = VideoX2L(select="keys", top_k="3", base_url="http://127.0.0.1:8000/v1")
    assert model.pass_video_url
    video = {"type": "video_url", "video_url": {"url": "file:///data/clip.mp4"}}
    model.client.chat.completions.create(
        model="tiny",
        messages=[{"role": "user", "content": [video, {"type": "text", "text": "What?"}]}],
        max_tokens=16,
        temperature=0,
        extra_body={"media_io_kwargs": {"video": {"num_frames": 10}}},
    )
    (payload,) = model.sent
    body = payload | payload.pop("extra_body")
    question = read_question(ChatCompletionRequest.model_validate(body))
    assert question.video == "file:///data/clip.mp4"
    assert (question.selection.select, question.selection.top_k) == ("keys", 3)
    monkeypatch.delitem(sys.modules, "pipelines.evaluate.lmms_eval")
