"""``videox2l serve``: the answering service, as a Ray Serve application."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pipelines.cli import options


def serve(
    archive: options.Archive = options.DEFAULT_ARCHIVE,
    model: options.Model = "tiny",
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 opens it to the network.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8000,
    replicas: Annotated[int, typer.Option(help="Copies of the model that answer side by side.", min=1)] = 1,
    autoscale_to: Annotated[
        int | None, typer.Option(help="Under load, up to so many copies; `--replicas` is the least.", min=1)
    ] = None,
    gpus_per_replica: Annotated[float, typer.Option(help="0 computes on the CPU; a fraction shares a GPU.", min=0)] = 0,
    cpus_per_replica: Annotated[float, typer.Option(help="Cores that Ray reserves for each copy.")] = 1,
    dtype: options.Dtype = None,
    api_keys: Annotated[
        str | None,
        typer.Option(help="Ask for keys: the file of `videox2l keys`.", envvar="VIDEOX2L_API_KEYS", show_envvar=True),
    ] = None,
    without_keys: Annotated[
        bool, typer.Option("--without-keys", help="Serve whoever can reach it, also on other addresses.")
    ] = False,
    allow_origin: Annotated[
        list[str] | None, typer.Option(help="Web pages of this origin may use it (CORS). May be repeated.")
    ] = None,
    allow_delete: Annotated[bool, typer.Option("--allow-delete", help="Without keys: videos may be deleted.")] = False,
    ingest_from: Annotated[
        list[str] | None,
        typer.Option(help="Videos below this folder or URL prefix may be ingested over HTTP. May be repeated."),
    ] = None,
    play_from: Annotated[
        list[str] | None,
        typer.Option(help="Videos below this folder or URL prefix may be played on the page. May be repeated."),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Any other setting, such as resident_bytes or low_deadline_s. May be repeated.",
        ),
    ] = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print a Serve configuration file for a cluster, and do nothing.")
    ] = False,
    storage_options: options.StorageOptions = None,
) -> None:
    """Serve an archive over HTTP in OpenAI's API shapes, until Ctrl-C.

    `videox2l serve --archive archive --port 8000`

    Name the video in a `video_url` part (`videox2l://ID`) or in an extra field `video`:

    `curl localhost:8000/v1/chat/completions -H "content-type: application/json" -d '{"model": "tiny", "video": "clip.mp4", "messages": [{"role": "user", "content": "Which scene comes first?"}]}'`

    Others may reach it once it has keys:

    `videox2l keys add alice > alice.key; videox2l serve --api-keys keys.json --host 0.0.0.0`

    Larger caches, and less patience with slow storage:

    `videox2l serve --set resident_bytes=16000000000 --set low_deadline_s=2`
    """  # noqa: E501 a command to copy
    from pipelines.serve import run
    from pipelines.serve.cluster_config import write_serve_config
    from pipelines.serve.config import read_assignments

    settings: dict[str, Any] = {
        "model": model,
        "replicas": replicas,
        "autoscale_to": autoscale_to,
        "gpus_per_replica": gpus_per_replica,
        "cpus_per_replica": cpus_per_replica,
        "dtype": dtype,
        "api_keys": api_keys,
        "without_keys": without_keys,
        "allow_origin": tuple(allow_origin or ()),
        "allow_delete": allow_delete,
        "ingest_from": tuple(ingest_from or ()),
        "play_from": tuple(play_from or ()),
        "storage_options": storage_options or {},
    } | read_assignments(assignments or [])
    if print_config:
        typer.echo(write_serve_config(archive, host, port, settings), nl=False)
        return
    run(archive, host=host, port=port, **settings)
