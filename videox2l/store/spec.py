"""What makes two indexes of a video the same: everything that changes the numbers stored in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch

from videox2l.config import UNSAID
from videox2l.errors import ArchiveFormatError
from videox2l.identity import canonical_json, describe_difference, fingerprint
from videox2l.kv.chunk import KV, LEVELS, Level
from videox2l.kv.codecs import CODECS, Codec
from videox2l.store import documents
from videox2l.store.layout import Part

ROPE_CONVENTION = "keys stored before RoPE, rotate-half"
"""Keys are position-free in an archive. Mixing rotates them, pairing dimension i with i + head_dim / 2."""

ROPE_IN_PLACE = "keys stored after RoPE at positions of the whole input, rotate-half"
"""Of models with M-RoPE. Mixing moves all keys of a memory by one number of positions."""

DEFAULT_CODECS: Mapping[Level, str] = MappingProxyType({"low": "raw", "high": "raw"})

_MODEL_FINGERPRINT = re.compile("[0-9a-f]{1,64}")

_MAX_DIMENSION = 2**16  # far beyond any model; products of three of them still fit 64 bits

DTYPES = ("float32", "float16", "bfloat16")


@dataclass(frozen=True, eq=False)  # equality is that of the canonical JSON: a tuple read back is a list
class IndexSpec:
    """Identifies an index among all indexes of one video.

    ``model_fingerprint`` stands for the model; ``model`` is the readable document behind it. ``sampling`` and
    ``compression`` are the configurations as plain dictionaries (:func:`videox2l.config.to_dict`); ``decode`` says how
    frames were brought to the model's size. ``dtype`` is the element type of all KVs, ``codecs`` how each level is
    stored (:mod:`videox2l.kv.codecs`; the prompt is always stored raw). ``layers``, ``kv_heads`` and ``head_dim``
    give the shape [layers, KV heads, tokens, head dimension] of every KV.

    :raises ValueError: unknown dtype or codec, or a dimension below 1.
    """

    model_fingerprint: str
    model: Mapping[str, Any]
    sampling: Mapping[str, Any]
    compression: Mapping[str, Any]
    layers: int
    kv_heads: int
    head_dim: int
    decode: Mapping[str, Any] = field(default_factory=dict)
    dtype: str = "bfloat16"
    codecs: Mapping[Level, str] = field(default_factory=lambda: DEFAULT_CODECS)
    rope: str = ROPE_CONVENTION

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {self.dtype!r}")
        if set(self.codecs) != set(LEVELS) or not set(self.codecs.values()) <= CODECS.keys():
            raise ValueError(f"codecs must name one of {', '.join(CODECS)} for low and high, got {dict(self.codecs)}")
        if self.rope not in (ROPE_CONVENTION, ROPE_IN_PLACE):
            raise ValueError(f"rope must be {ROPE_CONVENTION!r} or {ROPE_IN_PLACE!r}, got {self.rope!r}")
        for name in ("layers", "kv_heads", "head_dim"):
            if not 1 <= getattr(self, name) <= _MAX_DIMENSION:
                raise ValueError(f"{name} must be from 1 to {_MAX_DIMENSION}, got {getattr(self, name)}")

    @property
    def bytes_per_token(self) -> int:
        """Of keys and values in memory, over all layers."""
        return 2 * self.layers * self.kv_heads * self.head_dim * getattr(torch, self.dtype).itemsize

    def codec(self, part: Part) -> Codec:
        """How KVs of ``part`` are stored."""
        return CODECS["raw" if part == "prompt" else self.codecs[part]]

    def check(self, kv: KV, what: str) -> None:
        """Whether ``kv`` has the shape and dtype of this spec; ``what`` names it.

        :raises ValueError: it does not.
        """
        layers, heads, _, dim = kv.keys_LHTD.shape
        found = (layers, heads, dim, str(kv.keys_LHTD.dtype).removeprefix("torch."))
        values = str(kv.values_LHTD.dtype).removeprefix("torch.")
        wanted = (self.layers, self.kv_heads, self.head_dim, self.dtype)
        if found != wanted or values != self.dtype:
            raise ValueError(
                f"{what}: (layers, KV heads, head dimension, dtype) is {found}, values {values}; the spec says {wanted}"
            )

    def model_json(self) -> bytes:
        """The document of an archive that says what the model's fingerprint stands for."""
        return documents.seal({"fingerprint": self.model_fingerprint, "model": dict(self.model)})

    @property
    def index_fp(self) -> str:
        """32 hexadecimal digits: the index's folder inside its video. The model enters by its fingerprint alone."""
        document = self.to_document()
        del document["model"]
        return fingerprint(document)

    def difference(self, asked: IndexSpec, labels: tuple[str, str] = ("stored", "asked for")) -> str:
        """How this (stored) spec differs from the one asked for, one line a difference; empty if it does not."""
        mine, theirs = (spec.to_document() | {"compression": {**UNSAID, **spec.compression}} for spec in (self, asked))
        return describe_difference(mine, theirs, labels=labels)

    def to_document(self) -> dict[str, Any]:
        return {
            "model_fingerprint": self.model_fingerprint,
            "model": dict(self.model),
            "sampling": dict(self.sampling),
            "compression": dict(self.compression),
            "decode": dict(self.decode),
            "layers": self.layers,
            "kv_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "dtype": self.dtype,
            "codecs": dict(self.codecs),
            "rope": self.rope,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any], where: str) -> IndexSpec:
        """:raises ArchiveFormatError: a field is missing or of another kind."""
        get = documents.field
        codecs = get(document, "codecs", dict, where)
        try:
            return cls(
                model_fingerprint=documents.matching(document, "model_fingerprint", _MODEL_FINGERPRINT, where),
                model=get(document, "model", dict, where),
                sampling=get(document, "sampling", dict, where),
                compression=get(document, "compression", dict, where),
                decode=get(document, "decode", dict, where),
                layers=get(document, "layers", int, where),
                kv_heads=get(document, "kv_heads", int, where),
                head_dim=get(document, "head_dim", int, where),
                dtype=get(document, "dtype", str, where),
                codecs={level: get(codecs, level, str, where) for level in LEVELS},
                rope=get(document, "rope", str, where),
            )
        except ValueError as error:
            raise ArchiveFormatError(
                f"{where}: {error}. A newer videox2l may read it; otherwise ingest again."
            ) from error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IndexSpec) and canonical_json(self.to_document()) == canonical_json(
            other.to_document()
        )

    def __hash__(self) -> int:
        return hash(canonical_json(self.to_document()))
