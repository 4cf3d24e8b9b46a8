"""What is installed, what the machine has, and whether an archive and a model fit together: one check a line."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import torch
from packaging.requirements import Requirement

from pipelines import calibrated
from pipelines.cli.output import many, size
from videox2l.config import SelectionConfig
from videox2l.errors import ArchiveNotWritableError, InsufficientMemoryError, VideoX2LError
from videox2l.models import KVCompressibleModel, load_model
from videox2l.models.memory import check_fits, free_bytes
from videox2l.models.registry import placement, prefill_workload
from videox2l.store import Archive
from videox2l.store.calibration import CalibrationWatch

Status = Literal["ok", "warn", "fail"]

PACKAGE = "videox2l"

# What the extras are for; the others of them are for developers.
_EXTRAS = {
    "ray": "ingest jobs and the service",
    "s3": "archives in object storage",
    "deepspeed": "models on several GPUs, and training",
}

# Named by FFmpeg. Nearly all videos are in one of these; many others are read, too.
_CODECS = {
    "H.264": "h264",
    "HEVC": "hevc",
    "VP8": "vp8",
    "VP9": "vp9",
    "AV1": "libdav1d",
    "MPEG-4": "mpeg4",
    "MPEG-2": "mpeg2video",
    "Motion JPEG": "mjpeg",
}

# Below the first a job is likely to fail soon, below the second it may: an hour of video takes some 2 GiB at the low
# level of an 8B model, and its weights 16.
_LITTLE_DISK, _SOME_DISK = 2**28, 5 * 2**30

# A healthy cluster answers within milliseconds.
_RAY_ANSWERS_S = 5.0


@dataclass(frozen=True)
class Check:
    """What was looked at, how it is, and what to do where it is not well."""

    name: str
    status: Status
    said: str
    remedy: str = ""


def checks(
    archive: str | None,
    model: str,
    *,
    device: str | None = None,
    dtype: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Iterator[Check]:
    """All checks, each as it is done. Without an ``archive`` none is looked at."""
    yield Check("python", "ok", f"{platform.python_version()} at {sys.executable}")
    yield from packages()
    yield devices()
    yield decoders()
    yield memory()
    yield disk("temporary files", Path(tempfile.gettempdir()))
    yield ray_cluster()
    loaded: list[KVCompressibleModel] = []
    yield _tried("model", lambda: _model(model, device, dtype, loaded))
    if archive is not None:
        opened: list[Archive] = []
        yield _tried("archive", lambda: _archive(archive, storage_options, opened))
        if opened and loaded:
            yield _tried("videos", lambda: _fit(opened[0], loaded[0]))
            yield _calibration(opened[0], loaded[0])


def packages() -> Iterator[Check]:
    """Everything that this package asks for: itself first, what every use needs, and what its extras are for."""
    yield Check(PACKAGE, "ok", metadata.version(PACKAGE))
    wanted = [Requirement(text) for text in metadata.requires(PACKAGE) or []]
    for need in wanted:
        if need.marker is None:
            yield _package(need, "", f"pip install '{need}'")
    for extra, purpose in _EXTRAS.items():
        for need in wanted:
            if need.name != PACKAGE and need.marker is not None and need.marker.evaluate({"extra": extra}):
                yield _package(need, purpose, f"pip install '{PACKAGE}[{extra}]'")


def _package(need: Requirement, purpose: str, install: str) -> Check:
    try:
        found = metadata.version(need.name)
    except metadata.PackageNotFoundError:
        said = f"not installed; it is for {purpose}" if purpose else "not installed"
        return Check(need.name, "warn" if purpose else "fail", said, install)
    if not need.specifier.contains(found, prereleases=True):
        return Check(need.name, "fail", f"{found}, but {need.specifier} is needed", install)
    return Check(need.name, "ok", found)


def devices() -> Check:
    """GPUs with their memory, or the CPU."""
    cores = f"{os.cpu_count()} CPU cores"
    if torch.cuda.is_available():
        found = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
        return Check(
            "devices", "ok", ", ".join(f"{gpu.name} ({size(gpu.total_memory)})" for gpu in found) + f", {cores}"
        )
    if torch.version.cuda is None and shutil.which("nvidia-smi"):
        remedy = "install a PyTorch built for CUDA: https://pytorch.org/get-started/locally"
        return Check("devices", "warn", f"{cores}; there is a GPU, but this PyTorch is built without CUDA", remedy)
    return Check("devices", "ok", f"{cores}, no GPU: enough for the bundled model")


def decoders() -> Check:
    """Whether the usual codecs can be read."""
    import av

    lacking = [name for name, codec in _CODECS.items() if codec not in av.codecs_available]
    version = ".".join(map(str, av.library_versions["libavcodec"]))
    if lacking:
        remedy = "pip install --force-reinstall --only-binary :all: av: its wheels bring an FFmpeg that reads them"
        return Check("codecs", "warn", f"libavcodec {version} cannot read {', '.join(lacking)}", remedy)
    return Check("codecs", "ok", f"libavcodec {version} reads {', '.join(_CODECS)}")


def memory() -> Check:
    """What this process could still take."""
    free = free_bytes(torch.device("cpu"))
    if free is None:
        return Check("memory", "ok", "this system does not say how much is free")
    # With Ray and the service 1.3 GiB are taken before the first video.
    if free < 2 * 2**30:
        return Check("memory", "warn", f"{size(free)} free", "end other programs: a job with Ray takes 1.3 GiB itself")
    return Check("memory", "ok", f"{size(free)} free")


def disk(name: str, folder: Path) -> Check:
    """Room where ``folder`` is."""
    free = shutil.disk_usage(folder).free
    said = f"{size(free)} free at {folder}"
    if free < _SOME_DISK:
        return Check(name, "fail" if free < _LITTLE_DISK else "warn", said, "make room, or use another disk")
    return Check(name, "ok", said)


def ray_cluster() -> Check:
    """Whether the cluster that jobs would use answers."""
    try:
        from pipelines.local_ray import ClusterNotFoundError, check_answers, named_cluster
    except ImportError:
        return Check("ray cluster", "warn", "Ray is not installed", f"pip install '{PACKAGE}[ray]'")
    address = named_cluster()
    if address is None:
        return Check("ray cluster", "ok", "RAY_ADDRESS names none: jobs start Ray on this machine")
    try:
        check_answers(address, _RAY_ANSWERS_S)
    except ClusterNotFoundError as error:
        said, _, remedy = str(error).partition(". ")
        return Check("ray cluster", "fail", said, remedy)
    return Check("ray cluster", "ok", f"answers at {address}")


def _tried(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except VideoX2LError as error:
        return Check(name, "fail", str(error))


def _model(name: str, device: str | None, dtype: str | None, loaded: list[KVCompressibleModel]) -> Check:
    where, kind = placement(device, dtype)
    try:
        need = check_fits(prefill_workload(name, None, kind), where)
    except InsufficientMemoryError as error:
        return Check("model", "fail", f"{name} does not fit: {error}")
    model = load_model(name, device=where, dtype=kind)
    loaded.append(model)
    return Check(
        "model",
        "ok",
        f"{name} on {where} in {model.geometry.dtype}, fingerprint {model.identity.fingerprint[:12]}; a prefill of one "
        f"chunk takes {size(need.total)}",
    )


def _archive(url: str, storage_options: Mapping[str, Any] | None, opened: list[Archive]) -> Check:
    archive = Archive.open(url, storage_options=storage_options)
    opened.append(archive)
    free = archive.storage.free_bytes()
    room = "" if free is None else f", {size(free)} free"
    try:
        archive.check_writable()
    except ArchiveNotWritableError as error:
        return Check("archive", "warn", f"{archive.url} can be read only: questions work, ingest does not", str(error))
    if free is not None and free < _SOME_DISK:
        return Check("archive", "warn", f"{archive.url}{room}", "make room: `videox2l gc`, `videox2l retain`")
    return Check("archive", "ok", f"{archive.url} can be read and written{room}")


def _calibration(archive: Archive, model: KVCompressibleModel) -> Check:
    """Whether the archive knows which settings of the model are good enough, and whether its videos have them."""
    watch = CalibrationWatch(archive.storage, model.identity.fingerprint)
    found, remedy = watch.calibration, f"videox2l calibrate --videos FILES --model {model.name} --archive {archive.url}"
    if found is None:
        said = {"none": "none was made", "other model": "made for other models only", "unreadable": "damaged"}
        return Check("calibration", "ok" if watch.state == "none" else "warn", said[watch.state], remedy)
    rows = [row for video in archive.videos() for row in video.indexes]
    outside = calibrated.warnings(archive, model.identity.fingerprint, rows, SelectionConfig())
    if outside:
        return Check("calibration", "warn", "; ".join(outside), "use what is recommended, or calibrate anew")
    if found.recommended is None:
        return Check("calibration", "warn", f"made on {found.created}; {found.words}", remedy)
    return Check("calibration", "ok", f"made on {found.created}; {found.words}")


def _fit(archive: Archive, model: KVCompressibleModel) -> Check:
    """How many videos the model can answer about."""
    videos = archive.videos()
    fingerprint = model.identity.fingerprint
    fitting = sum(any(row.model_fingerprint == fingerprint for row in video.indexes) for video in videos)
    if not videos:
        return Check("videos", "warn", "the archive holds none yet", "videox2l ingest VIDEO --archive ARCHIVE")
    said = f"{fitting} of {many(len(videos), 'video')} can be asked with {model.name}"
    if fitting == len(videos):
        return Check("videos", "ok", said)
    others = sorted({row.model_fingerprint[:12] for video in videos for row in video.indexes} - {fingerprint[:12]})
    remedy = f"ask with the model and dtype that they were made with ({', '.join(others)}), or ingest them again"
    return Check("videos", "warn" if fitting else "fail", said, remedy)
