"""How a plain model's KVs are compressed: part of its identity, as other settings make other KVs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, get_args
from urllib.parse import parse_qsl

from videox2l.errors import ConfigError
from videox2l.models.plain.compressors import COMPRESSORS, Share


@dataclass(frozen=True)
class PlainSettings:
    """Written behind a model's name: ``FOLDER?compressor=key_norm&window=2``.

    ``compressor``: one of :data:`~videox2l.models.plain.compressors.COMPRESSORS`. ``share``: who keeps the same tokens
    (``head``: each KV head its own, ``layer``, ``all``). ``window``: how many chunks in front of the running one it
    sees dense; older ones it sees at the low level. With 0, the default, an ingest that was cut off can be resumed.
    ``size``: ``WIDTHxHEIGHT`` of frames in pixels, for models that take any size; by default
    :data:`~videox2l.models.plain.processing.DEFAULT_UNITS`.
    """

    compressor: str = "average"
    share: Share = "head"
    window: int = 0
    size: str = ""

    def __post_init__(self) -> None:
        if self.compressor not in COMPRESSORS:
            raise ConfigError(f"no compressor {self.compressor!r}: there are {', '.join(COMPRESSORS)}")
        if self.share not in get_args(Share):
            raise ConfigError(f"share must be one of {', '.join(get_args(Share))}, got {self.share!r}")
        if self.window < 0:
            raise ConfigError(f"window must not be negative, got {self.window}")

    def document(self) -> dict[str, Any]:
        """As plain JSON types; without a size where none was chosen."""
        return {name: value for name, value in asdict(self).items() if value != ""}


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
