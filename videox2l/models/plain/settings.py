"""How a plain model's KVs are compressed: part of its identity, as other settings make other KVs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, get_args
from urllib.parse import parse_qsl

from videox2l.errors import ConfigError
from videox2l.models.plain.compressors import Share, find_compressor, kvpress


@dataclass(frozen=True)
class PlainSettings:
    """Written behind a model's name: ``FOLDER?compressor=key_norm&window=2``.

    ``compressor``: one of :data:`~videox2l.models.plain.compressors.COMPRESSORS`, or ``kvpress:PRESS``. ``share``: who
    keeps the same tokens (``head``: each KV head its own, ``layer``, ``all``). ``window``: how many chunks in front of
    the running one it sees dense; older ones it sees at the low level. With 0, the default, an ingest that was cut off
    can be resumed.
    """

    compressor: str = "average"
    share: Share = "head"
    window: int = 0

    def __post_init__(self) -> None:
        find_compressor(self.compressor)
        if self.share not in get_args(Share):
            raise ConfigError(f"share must be one of {', '.join(get_args(Share))}, got {self.share!r}")
        if self.window < 0:
            raise ConfigError(f"window must not be negative, got {self.window}")

    def document(self) -> dict[str, Any]:
        """As plain JSON types, with the version of a package that scores."""
        foreign = {"kvpress": kvpress.version()} if self.compressor.startswith(kvpress.PREFIX) else {}
        return asdict(self) | foreign


def parse_settings(name: str) -> PlainSettings:
    """The settings behind the ``?`` of a model's name.

    :raises ConfigError: one of them does not exist or is impossible.
    """
    given: dict[str, Any] = dict(parse_qsl(name.partition("?")[2], keep_blank_values=True))
    known = [field.name for field in fields(PlainSettings)]
    for key in given:
        if key not in known:
            raise ConfigError(f"{name}: no setting {key!r}; there are {', '.join(known)}")
    if "window" in given:
        if not given["window"].isdecimal():
            raise ConfigError(f"{name}: window must be a number of chunks, got {given['window']!r}")
        given["window"] = int(given["window"])
    return PlainSettings(**given)
