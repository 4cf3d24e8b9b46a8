"""``videox2l serve``: the answering service, as a Ray Serve application."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli import options


def serve(
    archive: options.Archive = options.DEFAULT_ARCHIVE,
    model: options.Model = "tiny",
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 opens it to the network.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8000,
    replicas: Annotated[int, typer.Option(help="Copies of the model that answer side by side.", min=1)] = 1,
    gpus_per_replica: Annotated[float, typer.Option(help="0 computes on the CPU; a fraction shares a GPU.", min=0)] = 0,
    dtype: options.Dtype = None,
    storage_options: options.StorageOptions = None,
) -> None:
    """Serve an archive over HTTP in OpenAI's API shapes, until Ctrl-C.

    `videox2l serve --archive archive --port 8000`

    Name the video in a `video_url` part (`videox2l://ID`) or in an extra field `video`:

    `curl localhost:8000/v1/chat/completions -H "content-type: application/json" -d '{"model": "tiny", "video": "clip.mp4", "messages": [{"role": "user", "content": "Which scene comes first?"}]}'`
    """  # noqa: E501 a command to copy
    from pipelines.serve import run

    run(
        archive,
        model=model,
        host=host,
        port=port,
        replicas=replicas,
        gpus_per_replica=gpus_per_replica,
        dtype=dtype,
        storage_options=storage_options or {},
    )
