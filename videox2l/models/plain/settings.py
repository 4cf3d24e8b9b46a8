"""What stands behind a plain model's name: how its KVs are made, which is part of its identity, and how it runs."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal, get_args
from urllib.parse import parse_qsl

from videox2l.errors import ConfigError
from videox2l.models.plain.compressors import Share, find_compressor, kvpress

Weights = Literal["stored", "int8"]

# As transformers names them; none: all on one device.
DEVICE_MAPS = ("", "auto", "balanced", "sequential")


@dataclass(frozen=True)
class PlainSettings:
    """Written behind a model's name: ``FOLDER?compressor=key_norm&window=2``.

    ``compressor``: one of :data:`~videox2l.models.plain.compressors.COMPRESSORS`, or ``kvpress:PRESS``. ``share``: who
    keeps the same tokens (``head``: each KV head its own, ``layer``, ``all``). ``window``: how many chunks in front of
    the running one it sees dense; older ones it sees at the low level. With 0, the default, an ingest that was cut off
    can be resumed. ``size``: ``WIDTHxHEIGHT`` of frames in pixels, for models that take any size; by default
    :data:`~videox2l.models.plain.processing.DEFAULT_UNITS`.
    ``weights``: ``stored``, or the language model's rounded to ``int8`` as they are loaded.

    The others change KVs by rounding only. ``device_map``: as transformers takes it (``auto``, …), or the path of a
    JSON file of modules and devices. ``compile``: the decoder's layers run through ``torch.compile``.
    """

    compressor: str = "average"
    share: Share = "head"
    window: int = 0
    size: str = ""
    weights: Weights = "stored"
    device_map: str = ""
    compile: bool = False

    def __post_init__(self) -> None:
        find_compressor(self.compressor)
        if self.share not in get_args(Share):
            raise ConfigError(f"share must be one of {', '.join(get_args(Share))}, got {self.share!r}")
        if self.window < 0:
            raise ConfigError(f"window must not be negative, got {self.window}")
        if self.weights not in get_args(Weights):
            raise ConfigError(f"weights must be one of {', '.join(get_args(Weights))}, got {self.weights!r}")
        if self.device_map not in DEVICE_MAPS and not self.device_map.endswith(".json"):
            raise ConfigError(
                f"device_map must be one of {', '.join(DEVICE_MAPS[1:])} or a JSON file, got {self.device_map!r}"
            )

    def document(self) -> dict[str, Any]:
        """What KVs depend on beyond rounding, as plain JSON types, with the version of a package that scores."""
        document: dict[str, Any] = {"compressor": self.compressor, "share": self.share, "window": self.window}
        if self.size:
            document["size"] = self.size
        if self.weights != "stored":
            document["weights"] = self.weights
        if self.compressor.startswith(kvpress.PREFIX):
            document["kvpress"] = kvpress.version()
        return document


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
    if "compile" in given:
        if given["compile"] not in ("true", "false"):
            raise ConfigError(f"{name}: compile must be true or false, got {given['compile']!r}")
        given["compile"] = given["compile"] == "true"
    return PlainSettings(**given)
