"""What is measured: models from the bundled one up to Video-XL-7B, and videos of so many chunks."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import torch

from pipelines.bench.random_archive import LARGER
from videox2l.config import CompressionConfig
from videox2l.identity import fingerprint
from videox2l.kv import KV
from videox2l.models.protocol import ModelIdentity
from videox2l.models.registry import TINY_FOLDER
from videox2l.models.video_xl.checkpoint import load_config, weight_files
from videox2l.models.video_xl.configuration import VideoXLConfig, parse_config
from videox2l.models.video_xl.model import VideoXL, load_tokenizer
from videox2l.models.video_xl.presets import VIDEO_XL_7B, random_network, video_xl_7b

PROMPT_TOKENS = 14

# Room for the longest videos' memories: nothing here is about the quality of answers.
_CONTEXT = 2**20


@dataclass(frozen=True)
class Size:
    """A model and its videos: ``lengths`` in chunks, of which a question re-loads ``detailed``."""

    name: str
    make_config: Callable[[], VideoXLConfig]
    compression: CompressionConfig
    lengths: tuple[int, ...]
    detailed: int = 5


def _tiny() -> VideoXLConfig:
    return load_config(TINY_FOLDER, weight_files(TINY_FOLDER))


def _small() -> VideoXLConfig:
    raw = json.loads((TINY_FOLDER / "config.json").read_text()) | LARGER
    return parse_config(raw, _tiny().vision)


# "small": 90 frames of 4 tokens are chunks of 360, so that 24 and 96 of them are 2 and 9 thousand tokens of gist.
SIZES = {
    size.name: size
    for size in (
        Size("tiny", _tiny, CompressionConfig(2, 16, 8), (24, 96)),
        Size("small", _small, CompressionConfig(2, 8, 90), (24, 96)),
        Size(VIDEO_XL_7B, video_xl_7b, CompressionConfig(2, 32, 10), (24, 96, 360)),  # 360 chunks are an hour
    )
}


@dataclass(frozen=True)
class Subject:
    """A size with its weights in place."""

    size: Size
    model: VideoXL

    @property
    def device(self) -> torch.device:
        device: torch.device = self.model.decoder.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        dtype: torch.dtype = self.model.decoder.dtype
        return dtype

    @property
    def raw_tokens(self) -> int:
        """Visual tokens of a chunk."""
        return self.size.compression.frames_per_chunk * self.model.tokens_per_frame

    def random_kv(self, tokens: int) -> KV:
        """KVs of ``tokens``, on the model's device."""
        geometry = self.model.geometry
        shape = (geometry.layers, geometry.kv_heads, tokens, geometry.head_dim)
        return KV(*(torch.randn(shape, device=self.device, dtype=self.dtype) for _ in range(2)))

    def high_tokens(self) -> int:
        """Of an inner chunk."""
        return -(-self.raw_tokens // self.size.compression.high_ratio)

    def low_tokens(self) -> int:
        """Of any chunk."""
        return -(-self.raw_tokens // self.size.compression.low_ratio)


def make_subject(size: Size, device: torch.device, dtype: torch.dtype) -> Subject:
    """The model of ``size`` with random weights, which are made on ``device``, and the bundled tokenizer."""
    config = size.make_config()
    config.text.max_position_embeddings = _CONTEXT
    network = random_network(config, device=device, dtype=dtype)
    document = {"bench": size.name, "compute_dtype": str(dtype)}
    identity = ModelIdentity(fingerprint(document), document)
    return Subject(size, VideoXL(network, load_tokenizer(TINY_FOLDER), identity, size.name))
