"""Answer questions over HTTP: an OpenAI-compatible service on Ray Serve.

::

    client ──HTTP──▶ Ingress ──video's consistent hash──▶ Engine replica: model, resident videos ──reads──▶ archive

The ingress checks requests and finds the video; all questions about a video go to the same engine replica, which keeps
its high KVs in memory. Ask with any OpenAI client::

    with running_service("archive", "tiny") as url:
        client = OpenAI(base_url=f"{url}/v1", api_key="unused")
        client.chat.completions.create(
            model="tiny",
            messages=[{"role": "user", "content": "Is there a red circle scene in the video?"}],
            extra_body={"video": "clip.mp4"},
        )

* ``config.py``: what can be turned. ``app.py``: the deployments as one Serve application. ``service.py``: check, start,
  wait, stop on this machine; ``cluster_config.py``: the same as a file for a cluster.
* ``ingress.py``, ``engine.py``, ``ingests.py``: the deployments; ``resident.py``, ``threads.py``: the engine's parts.
* ``api.py``, ``routes/``: the HTTP application; ``schema/``: its documents; ``body.py``: sizes; ``errors.py``: every
  error as OpenAI's document; ``metrics.py``: numbers.
* ``request.py``, ``dialogue.py``, ``video_url.py``: from a request to a question; ``engines.py``, ``streams.py``: to
  the engines and back; ``completion.py``: to OpenAI's documents.
* ``access.py``, ``keys.py``, ``limits.py``, ``sources.py``: who may do what. ``catalog.py``, ``search.py``: the
  videos.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.serve.app import build_app
    from pipelines.serve.config import ServiceConfig
    from pipelines.serve.service import Service, run, running_service, start_service

# Imported on first use: who changes keys needs neither a model nor Ray.
_HOMES = {
    "Service": "service",
    "ServiceConfig": "config",
    "build_app": "app",
    "run": "service",
    "running_service": "service",
    "start_service": "service",
}

__all__ = ["Service", "ServiceConfig", "build_app", "run", "running_service", "start_service"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"pipelines.serve.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
