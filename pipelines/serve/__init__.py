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

* ``config.py``: what can be turned. ``app.py``: the two deployments as one Serve application, also for a cluster.
* ``run.py``: check, start, wait, stop on this machine.
* ``schema.py``: the HTTP documents; ``request.py``: from a request to a question; ``completion.py``: and back.
* ``ingress.py``, ``engine.py``: the deployments; ``resident.py``, ``threads.py``: the engine's parts.
* ``errors.py``: every error as OpenAI's document.
"""

from pipelines.serve.app import build_app
from pipelines.serve.config import ServiceConfig
from pipelines.serve.run import Service, run, running_service, start_service

__all__ = ["Service", "ServiceConfig", "build_app", "run", "running_service", "start_service"]
