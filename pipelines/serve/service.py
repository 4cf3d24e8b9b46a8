"""The service on this machine: check archive and model, start Ray and Serve, wait for a signal, clean up."""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import typer
from ray import serve

from pipelines import calibrated
from pipelines.local_ray import connect, named_cluster, start_local
from pipelines.serve.app import QUIET, build_app
from pipelines.serve.config import ServiceConfig
from pipelines.serve.keys import read_keys
from videox2l.config import SelectionConfig
from videox2l.errors import ConfigError, FingerprintMismatchError
from videox2l.models import load_model
from videox2l.models.registry import local_folder
from videox2l.paths import expanded
from videox2l.store import Archive, VideoEntry

# Ray's own store carries only questions and pieces of text; its default takes 30 % of the memory.
OBJECT_STORE_BYTES = 128 * 2**20

LOCAL = "127.0.0.1"
_OWN_ADDRESSES = frozenset({LOCAL, "localhost", "::1"})

# A prefill worker, and one process that decodes or plans; what the one has decoded and the other not yet taken.
_INGEST_CPUS = 2
_INGEST_BYTES = 2**29

APPLICATION = "videox2l"
"""Its name in Serve."""


@dataclass(frozen=True)
class Service:
    """A running service. ``url`` is where it listens; ``stop`` ends it and the Ray that was started for it."""

    url: str
    model: str
    owns_ray: bool

    def stop(self) -> None:
        if ray.is_initialized():
            serve.shutdown()
        if self.owns_ray:
            ray.shutdown()


def run(archive_url: str, *, host: str = LOCAL, port: int = 8000, block: bool = True, **settings: Any) -> Service:
    """Serve ``archive_url`` until Ctrl-C or SIGTERM; with ``block=False``, until :meth:`Service.stop`.

    ``settings`` are fields of :class:`ServiceConfig`, such as ``model`` and ``replicas``. ``port`` 0 takes a free one.
    Another address than this machine's own needs ``api_keys``, or ``without_keys=True``.
    Raises :class:`~videox2l.errors.VideoX2LError` for what can be known before Ray starts.
    """
    service = start_service(archive_url, host=host, port=port, **settings)
    typer.echo(_greeting(service, archive_url, with_keys=settings.get("api_keys") is not None))
    if block:
        try:
            _wait_for_signal()
        finally:
            service.stop()
    return service


@contextmanager
def running_service(archive_url: str, model: str = "tiny", *, port: int = 0, **settings: Any) -> Iterator[str]:
    """The service's address, such as ``http://127.0.0.1:8000``, while the block runs. Takes what :func:`run` takes."""
    service = start_service(archive_url, model=model, port=port, **settings)
    try:
        yield service.url
    finally:
        service.stop()


def start_service(archive_url: str, *, host: str = LOCAL, port: int = 0, **settings: Any) -> Service:
    """Start and return at once; ``port`` 0 takes a free one. The caller stops it.

    Uses the Ray of this process or of ``RAY_ADDRESS`` where there is one, else starts one.
    """
    config = check(guarded(ServiceConfig.read(archive_url, settings), host))
    port = _bindable(host, port)
    owns_ray = not ray.is_initialized()
    if not owns_ray and serve.status().proxies:
        raise ConfigError("this Ray serves something already: deploy pipelines.serve.build_app beside it")
    service = Service(f"http://{host}:{port}", config.served_name, owns_ray)
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    try:
        if owns_ray:
            _start_ray(config)
        serve.start(proxy_location="HeadOnly", http_options={"host": host, "port": port}, logging_config=QUIET)
        _deploy(config)
    except BaseException:
        service.stop()
        raise
    return service


def guarded(config: ServiceConfig, host: str) -> ServiceConfig:
    """``config`` for ``host``. Raises :class:`ConfigError` where strangers could use it and nobody has allowed that."""
    if config.api_keys is not None or config.without_keys:
        return config
    if host not in _OWN_ADDRESSES:
        raise ConfigError(
            f"whoever can reach {host} could use the service. Give it API keys (`videox2l keys add NAME --file KEYS`, "
            "then --api-keys KEYS), or start it --without-keys if something in front of it keeps strangers out."
        )
    return config.model_copy(update={"loopback_only": True})


def _deploy(config: ServiceConfig) -> None:
    try:
        serve.run(build_app(config), name=APPLICATION)
    except RuntimeError as error:
        # Serve names only the deployment; why it failed is in its status.
        deployments = serve.status().applications[APPLICATION].deployments
        reasons = [f"{name}: {status.message}" for name, status in deployments.items() if status.message]
        raise RuntimeError("\n".join([str(error), *reasons])) from error


def check(config: ServiceConfig) -> ServiceConfig:
    """``config`` with absolute paths, once archive and model are known to be there and to fit each other.

    Loads the model in this process and lets go of it again: a broken checkpoint is better reported here than from
    inside an actor. Raises :class:`~videox2l.errors.VideoX2LError`.
    """
    # Who lets videos be ingested over HTTP may begin with none.
    create = bool(config.ingest_from)
    archive = Archive.open(config.archive_url, create=create, storage_options=config.storage_options)
    folder = local_folder(config.model)
    name = config.model if folder is None else str(folder.absolute())
    model = load_model(name, device="cpu", dtype=config.compute_dtype)
    videos = archive.videos()
    _check_fit(videos, model.identity.fingerprint, config)
    rows = (row for video in videos for row in video.indexes)
    for said in calibrated.warnings(archive, model.identity.fingerprint, rows, SelectionConfig()):
        typer.echo(f"warning: {said}", err=True)
    paths = {"archive_url": archive.url, "model": name, "ingest_from": tuple(map(_place, config.ingest_from))}
    paths["play_from"] = tuple(map(_place, config.play_from))
    if config.api_keys is not None:
        read_keys(Path(config.api_keys))
        paths["api_keys"] = str(Path(config.api_keys).absolute())
    return config.model_copy(update=paths)


def _place(text: str) -> str:
    """A URL prefix as it is, a folder's absolute path."""
    if "://" in text:
        return text
    folder = expanded(text)
    if not folder.is_dir():
        raise ConfigError(f"{text} is no folder on this machine, nor a URL")
    return str(folder.absolute())


def _check_fit(videos: list[VideoEntry], fingerprint: str, config: ServiceConfig) -> None:
    indexes = [index for video in videos for index in video.indexes]
    if not indexes or any(index.model_fingerprint == fingerprint for index in indexes):
        return
    others = "\n".join(f"  {text}" for text in sorted({index.model for index in indexes})[:3])
    raise FingerprintMismatchError(
        f"none of the {len(videos)} videos in {config.archive_url} was ingested with the model {config.model!r} in "
        f"{config.compute_dtype}, but with:\n{others}\nServe that model, or ingest the videos with this one."
    )


def _start_ray(config: ServiceConfig) -> None:
    if (address := named_cluster()) is not None:
        connect(address)
    else:
        # Reserve what the replicas ask for even on a smaller machine: they share its cores then.
        engines = math.ceil((config.autoscale_to or config.replicas) * config.cpus_per_replica)
        cpus = max(os.cpu_count() or 1, engines + (_INGEST_CPUS if config.ingest_from else 0))
        start_local(cpus, OBJECT_STORE_BYTES + (_INGEST_BYTES if config.ingest_from else 0))


def _bindable(host: str, port: int) -> int:
    """``port``, or a free one for 0. Raises :class:`ConfigError` where it is taken."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does: a just closed port is free
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            raise ConfigError(f"cannot listen on {host}, port {port}: {error}. Choose another one.") from error
        chosen: int = probe.getsockname()[1]
        return chosen


def _wait_for_signal() -> None:
    """Until SIGINT or SIGTERM. Ray's own handler for SIGTERM would leave without cleaning up."""
    received = threading.Event()
    before = {number: signal.signal(number, lambda *_: received.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        received.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _greeting(service: Service, archive_url: str, *, with_keys: bool) -> str:
    header = ' -H "Authorization: Bearer $KEY"' if with_keys else ""
    body = {
        "model": service.model,
        "video": "VIDEO",
        "messages": [{"role": "user", "content": "What happens in the video?"}],
    }
    return f"""\
Serving {archive_url} with {service.model} at {service.url}  (interactive documentation: {service.url}/docs)
Videos: curl {service.url}/v1/videos{header}
Ask:    curl {service.url}/v1/chat/completions{header} -H 'Content-Type: application/json' -d '{json.dumps(body)}'
Stop with Ctrl-C."""
