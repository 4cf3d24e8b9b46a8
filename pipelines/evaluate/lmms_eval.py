"""A model for lmms-eval that asks this project's service. It runs in lmms-eval's environment and needs nothing of ours.

lmms-eval's own client for OpenAI's protocol can hand a video on by its address; the service knows it by the path that
it was ingested from. What that client adds for other servers is taken out again, and the selection put in.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from lmms_eval.models.chat.openai import OpenAICompatible
from lmms_eval.models.registry_v2 import ModelManifest

# Which frames are looked at was decided at the ingest.
_FOREIGN = ("media_io_kwargs", "chat_template_kwargs")


class VideoX2L(OpenAICompatible):
    """``--model videox2l --model_args base_url=http://HOST:PORT/v1,model=NAME,api_key=KEY,select=attention,top_k=2``.

    All of lmms-eval's ``openai`` model's arguments may be given, too.
    """

    def __init__(self, select: str = "attention", top_k: int = 2, **others: Any) -> None:
        super().__init__(pass_video_url=True, **others)
        completions = self.client.chat.completions
        completions.create = partial(_create, completions.create, {"select": select, "top_k": int(top_k)})


def _create(create: Callable[..., Any], selection: dict[str, Any], **payload: Any) -> Any:
    foreign = payload.pop("extra_body", {})
    kept = {name: value for name, value in foreign.items() if name not in _FOREIGN}
    return create(**payload, extra_body=kept | selection)


MANIFEST = ModelManifest("videox2l", chat_class_path=f"{__name__}.{VideoX2L.__name__}")
"""What lmms-eval finds by the entry point ``lmms_eval.models``."""
