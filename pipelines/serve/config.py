"""What can be turned at the service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from videox2l.errors import ConfigError


class ServiceConfig(BaseModel):
    """One service: one archive, one model, any number of engine replicas.

    A pydantic model, so that the ``args`` of a Serve configuration file (``serve deploy``, KubeRay's RayService) are
    checked against it. Paths must mean the same on every node.
    """

    # `model_name` is what OpenAI's API calls it; pydantic would keep the prefix for itself.
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    archive_url: str
    """A local folder or any fsspec URL."""
    storage_options: dict[str, Any] = {}
    """Passed to the archive's file system."""
    model: str = "tiny"
    """Bundled name, checkpoint folder or hub id; see :func:`videox2l.load_model`."""
    model_name: str | None = None
    """What requests call it. Default: ``model`` itself, of a folder its last part."""
    dtype: str | None = None
    """Default: bfloat16 on a GPU, float32 on a CPU. It belongs to the fingerprint: KVs of another dtype do not fit."""

    replicas: int = Field(default=1, ge=1)
    """Engines. Each holds the model once and its share of the videos."""
    gpus_per_replica: float = Field(default=0, ge=0)
    """0 computes on the CPU; a fraction shares a GPU between replicas."""
    cpus_per_replica: float = Field(default=1, gt=0)
    """Cores Ray reserves; Ray gives torch as many threads."""
    concurrency: int = Field(default=16, ge=1)
    """Answers a replica decodes together. Each needs room for its KVs beside the model; more share a step's cost."""
    resident_bytes: int = Field(default=4 * 2**30, ge=0)
    """High KVs kept in a replica's memory. 4 GiB hold over 10 hours of video of an 8B model at a ratio of 32."""
    low_memory_bytes: int = Field(default=2**30, ge=0)
    """Low KVs kept in a replica's memory, as they are stored."""
    low_disk_bytes: int = Field(default=20 * 2**30, ge=0)
    """Copies of low KVs kept in ``cache_folder``, which replicas of a machine share; 0: none."""
    cache_folder: str | None = None
    """Default: ``videox2l`` in the user's cache folder, and none for an archive on a local disk."""
    mixed_bytes: int = Field(default=2**30, ge=0)
    """Mixed KVs kept for later questions about the same chunks."""
    conversation_bytes: int = Field(default=2**28, ge=0)
    """KVs of earlier turns kept for follow-ups."""
    low_deadline_s: float = Field(default=5.0, ge=0)
    """How long a question waits for low KVs before it is answered from the high ones instead, and says so."""
    max_ongoing_requests: int = Field(default=32, ge=1)
    """Questions a replica takes in, computing or waiting. Beyond it the next replica on the hash ring helps out, which
    has to load the video first: a few answers' time of waiting is cheaper."""
    max_queued_requests: int = Field(default=32, ge=0)
    """Questions that wait when all replicas are full. More are refused with 503 and ``Retry-After``: at some seconds
    an answer, whoever came later would give up before the turn came."""

    api_keys: str | None = None
    """A file of ``videox2l keys``. Requests then need one of its keys; it is read again when it changes."""
    without_keys: bool = False
    """Serve whoever can reach the service. One of these two has to be said, so that none is open by an oversight."""
    loopback_only: bool = False
    """The service listens on this machine's own address: requests that were addressed to another host, as a web page
    can make a browser send them (DNS rebinding), are refused."""
    allow_origin: tuple[str, ...] = ()
    """Web pages of these origins may use the service from a browser (CORS); ``*`` for all."""
    allow_delete: bool = False
    """Without keys: whether videos may be deleted. With keys, each says so itself."""
    ingest_from: tuple[str, ...] = ()
    """Folders and URL prefixes that videos may be ingested from over HTTP; none by default."""
    play_from: tuple[str, ...] = ()
    """Folders and URL prefixes whose videos may be played, whole, by whoever sees them here; none by default."""
    ingest_device: str | None = None
    """As ``device`` of an ingest. Default: a GPU if the cluster has one."""
    max_body_bytes: int = Field(default=4 * 2**20, ge=1024)
    """Of a request. Four bytes for each character of the longest text that a model's context could hold."""

    autoscale_to: int | None = Field(default=None, ge=1)
    """Engines under load, from ``replicas`` on; ``None`` keeps their number."""

    @classmethod
    def read(cls, archive_url: str, settings: Mapping[str, Any]) -> ServiceConfig:
        """From ``settings`` by name.

        :raises ConfigError: some are unknown or impossible; it names each.
        """
        try:
            return cls.model_validate({"archive_url": archive_url, **settings})
        except ValidationError as error:
            problems = [(".".join(map(str, one["loc"])), one["msg"]) for one in error.errors()]
            raise ConfigError("; ".join(f"{name}: {text}" if name else text for name, text in problems)) from error

    @property
    def served_name(self) -> str:
        """The model's name in requests and answers."""
        if self.model_name is not None:
            return self.model_name
        return Path(self.model).name if Path(self.model).is_absolute() else self.model

    @model_validator(mode="after")
    def _autoscales_upwards(self) -> ServiceConfig:
        if self.autoscale_to is not None and self.autoscale_to < self.replicas:
            raise ValueError(f"autoscale_to ({self.autoscale_to}) must not be below replicas ({self.replicas})")
        return self

    @property
    def device(self) -> str:
        return "cuda" if self.gpus_per_replica else "cpu"

    @property
    def compute_dtype(self) -> str:
        """``dtype`` with its default, so that a machine without a GPU can name the fingerprint of one with."""
        return self.dtype or ("bfloat16" if self.gpus_per_replica else "float32")


def read_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """Settings from texts such as ``"low_deadline_s=2"``; values are written as in YAML.

    :raises ConfigError: one is no assignment to a setting.
    """
    settings: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or name not in ServiceConfig.model_fields:
            known = ", ".join(sorted(ServiceConfig.model_fields))
            raise ConfigError(f"{assignment!r} is not NAME=VALUE of a setting, which are {known}")
        try:
            settings[name] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ConfigError(f"{name}: {value!r} cannot be read: {error}") from error
    return settings
