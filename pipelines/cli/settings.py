"""The settings of an ingest from a YAML file and from options, which win."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from pipelines.cli import options
from pipelines.ingest import IngestSettings
from pipelines.ingest.yaml_settings import ARCHIVE, SOURCES, read_settings
from videox2l.config import SamplingConfig
from videox2l.errors import ConfigError
from videox2l.models.registry import TINY
from videox2l.store import DEFAULT_CODECS

# The options that are settings, and where in the settings.
_OPTIONS: dict[str, tuple[str, ...]] = {
    "sources": (SOURCES,),
    "archive": (ARCHIVE,),
    "model": ("model",),
    "device": ("device",),
    "dtype": ("dtype",),
    "fps": ("sampling", "fps"),
    "frames": ("sampling", "frames"),
    "max_frames": ("sampling", "max_frames"),
    "low_ratio": ("compression", "low_ratio"),
    "high_ratio": ("compression", "high_ratio"),
    "frames_per_chunk": ("compression", "frames_per_chunk"),
    "edge_ratio": ("compression", "edge_ratio"),
    "remainder": ("compression", "remainder"),
    "prefill": ("compression", "prefill"),
    "low_codec": ("codecs", "low"),
    "high_codec": ("codecs", "high"),
    "prefill_actors": ("prefill_actors",),
    "videos_per_actor": ("videos_per_actor",),
    "memory_per_actor": ("memory_per_actor_gib",),
    "tensor_parallel": ("tensor_parallel",),
    "append": ("append",),
    "append_to": ("append_to",),
    "replace": ("replace",),
    "recorded_at": ("recorded_at",),
    "progress_every": ("progress_every_s",),
    "retry_quarantined": ("retry_quarantined",),
    "thumbnails": ("thumbnails",),
    "retriever": ("retriever",),
}

# Where an option's value comes from; anything else is a default. By name, as typer brings a click of its own.
_GIVEN = ("COMMANDLINE", "ENVIRONMENT")


@dataclass(frozen=True)
class Effective:
    """What an ingest will do."""

    settings: IngestSettings
    sources: Sequence[str]
    archive: str


def effective(context: typer.Context, config: Path | None) -> Effective:
    """What the options of this command and the file ``config`` say together.

    :raises ConfigError: the file is not sound, or the settings are impossible.
    """
    found = {} if config is None else read_settings(config)
    for option, place in _OPTIONS.items():
        source = context.get_parameter_source(option)
        if source is not None and source.name in _GIVEN:
            _put(found, place, context.params[option])
    sources, archive = found.pop(SOURCES, ()), found.pop(ARCHIVE, options.DEFAULT_ARCHIVE)
    try:
        return Effective(_made(found), sources, archive)
    except ConfigError as error:
        if config is None:
            raise
        raise ConfigError(f"with the settings in {config}: {error}") from error


def _made(found: dict[str, Any]) -> IngestSettings:
    changes = found.pop("compression", None) or {}
    compression = options.compression(found.get("model", TINY), **changes)
    sampling = SamplingConfig(**found.pop("sampling", {}))
    codecs = {**DEFAULT_CODECS, **found.pop("codecs", {})}
    return IngestSettings(**found, sampling=sampling, compression=compression, codecs=codecs)


def _put(settings: dict[str, Any], place: Sequence[str], value: Any) -> None:
    *outer, name = place
    for part in outer:
        settings[part] = settings.get(part) or {}
        settings = settings[part]
    settings[name] = value
