"""What store, selection, pipelines and answering ask of a model. A second kind of model implements this and no more.

The split is deliberate: *prefill* is each backend's own (that is where models differ), while a question always runs on
``decoder``, a stock transformers model with an ordinary KV cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch

from videox2l.config import CompressionConfig
from videox2l.errors import ModelError
from videox2l.kv import KV, ChunkKV, Level
from videox2l.kv.rope import RopeTables
from videox2l.models.memory import Workload
from videox2l.models.relevance import RelevanceHeads
from videox2l.video.frames import FrameFormat

if TYPE_CHECKING:  # a second of every process that only stores what models make
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class ModelIdentity:
    """Which model KVs belong to: a fingerprint of weights and configuration, and what it stands for in words."""

    fingerprint: str
    document: dict[str, Any]


@dataclass(frozen=True)
class KVGeometry:
    """The shape of a model's KVs: layers, KV heads and head dimension; ``dtype`` as torch names it (``bfloat16``).

    ``keys_in_place``: keys are kept rotated to their positions in the whole input (see :class:`~videox2l.kv.KV`).
    """

    layers: int
    kv_heads: int
    head_dim: int
    dtype: str
    keys_in_place: bool = False

    @property
    def bytes_per_token(self) -> int:
        """Keys and values of one memory token over all layers."""
        return 2 * self.layers * self.kv_heads * self.head_dim * getattr(torch, self.dtype).itemsize


@dataclass(frozen=True)
class PrefillState:
    """Where a prefill goes on: what it has kept of a video's first chunks, bit for bit as it exported it.

    ``chunks`` are both levels of chunks 0, 1, 2, …; none of them may have been compressed as the video's last one. They
    are read once, in order, so that no more than one of them need be in memory beside the prefill's own.
    """

    prompt: KV
    chunks: Iterable[ChunkKV]


@dataclass(frozen=True)
class Timeline:
    """When a whole video's sampled frames are shown, in seconds after its first frame, and how long it lasts."""

    times_s: tuple[float, ...]
    duration_s: float

    @classmethod
    def steady(cls, frames: int, fps: float = 1.0) -> Timeline:
        """Of so many frames at equal distances."""
        return cls(tuple(number / fps for number in range(frames)), frames / fps)

    def time_s(self, frame: int) -> float:
        """When a frame is shown.

        :raises ModelError: the video has no such frame.
        """
        if frame >= len(self.times_s):
            raise ModelError(f"the video has more frames than the {len(self.times_s)} of its timeline")
        return self.times_s[frame]


class Prefill(Protocol):
    """The running prefill of one video; holds all of its state."""

    after_pass: Callable[[Level], None]
    """Called behind each pass over a chunk, for whoever measures. A GPU may still be computing then."""

    @property
    def prompt(self) -> KV:
        """KVs of the tokens in front of the video, uncompressed."""

    def expect(self, chunks: int, raw_tokens: int) -> None:
        """Make room for a video of ``chunks`` in all, none of more than ``raw_tokens`` visual tokens. Optional."""

    def memory_tokens(self, level: Level) -> int:
        """Tokens that this level's pass has kept so far, the prompt included: the next chunk's first position."""

    def append(self, visual_tokens_TN: torch.Tensor, *, last: bool) -> ChunkKV:
        """Compress the next chunk at both levels; ``last`` marks the end of the video."""


class KVCompressibleModel(Protocol):
    """A video language model whose KV cache can be kept at two levels per chunk."""

    name: str
    identity: ModelIdentity
    geometry: KVGeometry
    frame_format: FrameFormat
    tokens_per_frame: int
    dense_tokens_per_frame: int
    """With the text that the model has around a frame, at most."""
    context_length: int
    """Positions the model was made for. Beyond it quality is unknown; questions refuse, prefill warns."""
    default_compression: CompressionConfig
    relevance_heads: RelevanceHeads | None
    """Heads whose attention finds the right chunk, where they were calibrated."""
    tokenizer: Any
    stop_ids: frozenset[int]
    """Tokens that end an answer."""

    @property
    def decoder(self) -> PreTrainedModel:
        """The stock language model that answers over mixed KVs."""

    def encode_frames(self, frames_FHWC: torch.Tensor) -> torch.Tensor:
        """``[F, H, W, 3]`` uint8 RGB frames in ``frame_format`` → ``[F * tokens_per_frame, hidden]``."""

    def dense_rows(
        self, visual_tokens_TN: torch.Tensor, first: int, timeline: Timeline | None = None, *, last: bool
    ) -> torch.Tensor:
        """All that the uncompressed model sees of a chunk, ``[X, hidden]``: text around its frames included.

        ``first`` is the number of its first frame in the video; ``last`` marks the video's last chunk.
        """

    def start_prefill(
        self, compression: CompressionConfig, resume: PrefillState | None = None, timeline: Timeline | None = None
    ) -> Prefill:
        """Begin a video: runs the prompt in front of it. With ``resume``, go on behind the chunks that it holds.

        ``timeline`` is the whole video's, for models that are told when frames are shown; others need none.

        On the same machine the chunks that follow come out bit for bit as if all had been prefilled in one go.
        """

    def workload(self, compression: CompressionConfig, chunks: int) -> Workload:
        """The prefill of a video of so many chunks, to ask whether it fits the device beside the weights."""

    def append_together(
        self, prefills: Sequence[Any], visual_tokens: Sequence[torch.Tensor], last: Sequence[bool]
    ) -> list[ChunkKV]:
        """:meth:`Prefill.append` for several prefills that this model has started, each with its next chunk.

        Equal to one after the other but for rounding.
        """

    def rope_tables(self, start: int, count: int, dtype: torch.dtype) -> RopeTables:
        """Cosines and sines of ``count`` positions from ``start`` on, each [T, D]."""

    def question_ids(self, question: str, *, follow_up: bool = False) -> list[int]:
        """Token ids of a question behind the video, or behind an earlier answer (``follow_up``).

        Control tokens written in it are plain text.
        """

    def answer_ids(self, answer: str) -> list[int]:
        """Token ids of an earlier answer and of the end of its turn. Control tokens written in it are plain text."""

    def queries(self, layer: int, hidden_TN: torch.Tensor, start: int) -> torch.Tensor:
        """Rotated queries ``[Q, T, D]`` of ``layer`` for the hidden states that enter it at positions ``start`` …"""
