"""One rank's share of a Video-XL that is spread over several devices."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from videox2l.config import CompressionConfig
from videox2l.errors import CheckpointError, ConfigError
from videox2l.kv import KV
from videox2l.kv.heads import HeadRange, head_ranges
from videox2l.models.protocol import ModelIdentity, PrefillState, Timeline
from videox2l.models.registry import find_checkpoint, load_model, placement
from videox2l.models.relevance import RelevanceHeads
from videox2l.models.video_xl.checkpoint import load_config, weight_files
from videox2l.models.video_xl.memory import VideoXLWorkload
from videox2l.models.video_xl.model import VideoXL
from videox2l.models.video_xl.network import VideoXLNetwork
from videox2l.models.video_xl.prefill import VideoXLPrefill
from videox2l.parallel.ranks import Ranks, join_ranks
from videox2l.parallel.shard import shard_network


class ShardedVideoXL(VideoXL):
    """A :class:`~videox2l.models.KVCompressibleModel` of which this process holds the heads ``head_range``.

    All ranks call the same methods in the same order. KVs that come out of a prefill and go into the decoder's cache
    are those of the local heads, ``[L, H / ranks, T, D]``; ``geometry`` and ``identity`` are the whole model's, as
    archives know it.
    """

    def __init__(
        self,
        network: VideoXLNetwork,
        tokenizer: Any,
        identity: ModelIdentity,
        name: str,
        relevance_heads: RelevanceHeads | None,
        ranks: Ranks,
    ) -> None:
        """``network`` must be this rank's share already: :func:`~videox2l.parallel.shard.shard_network`."""
        super().__init__(network, tokenizer, identity, name, relevance_heads)
        self.ranks = ranks
        self.head_range: HeadRange = head_ranges(self.geometry.kv_heads, ranks.count)[ranks.rank]

    @property
    def query_heads(self) -> range:
        """The query heads that this rank computes: those that share its KV heads."""
        share = self.network.config.text.num_attention_heads // self.geometry.kv_heads
        return range(self.head_range.start * share, self.head_range.stop * share)

    @torch.inference_mode()
    def encode_frames(self, frames_FHWC: torch.Tensor) -> torch.Tensor:
        """``[F, H, W, 3]`` uint8 RGB frames → ``[F * tokens_per_frame, hidden]`` visual tokens, computed on rank 0."""
        weight = self.network.vst.embedding.weight
        tokens_TN = self.ranks.together(
            lambda: (
                self.network.visual_tokens(frames_FHWC)
                if self.ranks.leads
                else weight.new_empty(len(frames_FHWC) * self.tokens_per_frame, weight.shape[1])
            )
        )
        return self.ranks.broadcast(tokens_TN.contiguous())

    def start_prefill(
        self, compression: CompressionConfig, resume: PrefillState | None = None, timeline: Timeline | None = None
    ) -> VideoXLPrefill:
        """Begin a video. ``resume`` holds all heads, as archives do; what is appended has the local ones."""
        if resume is not None:
            own_chunks = ({level: self.own_heads(kv) for level, kv in kvs.items()} for kvs in resume.chunks)
            resume = PrefillState(self.own_heads(resume.prompt), own_chunks)
        return super().start_prefill(compression, resume, timeline)

    def workload(self, compression: CompressionConfig, chunks: int) -> VideoXLWorkload:
        """As of a whole model, but of this rank's share."""
        return dataclasses.replace(super().workload(compression, chunks), ranks=self.ranks.count)

    def own_heads(self, kv: KV) -> KV:
        """This rank's part of KVs that hold all heads."""
        part = self.head_range.of(kv)
        return KV(part.keys_LHTD.contiguous(), part.values_LHTD.contiguous())


def load_model_parallel(
    name: str,
    *,
    rank: int,
    ranks: int,
    address: str = "",
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
) -> ShardedVideoXL:
    """Load this process's share of a model that ``ranks`` processes hold together; each calls this with its ``rank``.

    ``name`` and ``dtype`` are those of :func:`~videox2l.models.load_model`; ``address`` is that of
    :func:`~videox2l.parallel.join_ranks`. ``device`` defaults to the current GPU, if there is one. Each process reads
    the checkpoint through the page cache: where its dtype is the wanted one, only the own share takes memory.

    :raises ConfigError: the model's KV heads cannot be shared out evenly, or the ranks cannot meet.
    :raises ModelError: the model cannot be loaded on one of the ranks, or they found different checkpoints.
    """
    chosen, dtype = placement(device, dtype)
    return load_share(name, join_ranks(rank, ranks, address=address, device=chosen), dtype)


def load_share(name: str, ranks: Ranks, dtype: str | torch.dtype | None = None) -> ShardedVideoXL:
    """As :func:`load_model_parallel`, for processes that have met already. A collective."""
    _, chosen = placement(ranks.device, dtype)
    whole = ranks.together(lambda: _load_whole(name, ranks.count, chosen))
    fingerprints = ranks.exchange(whole.identity.fingerprint)
    if len(set(fingerprints)) > 1:
        raise CheckpointError(f"{name} is not the same model on all ranks (fingerprints {', '.join(fingerprints)})")
    shard_network(whole.network, ranks)
    return ShardedVideoXL(whole.network, whole.tokenizer, whole.identity, name, whole.relevance_heads, ranks)


def _load_whole(name: str, ranks: int, dtype: torch.dtype) -> VideoXL:
    folder = find_checkpoint(name)
    # Before the weights are read: what does not fit is said at once.
    head_ranges(load_config(folder, weight_files(folder)).text.num_key_value_heads, ranks)
    model = load_model(str(folder), device="cpu", dtype=dtype)
    if not isinstance(model, VideoXL):
        raise ConfigError(f"{name} is no Video-XL: no other kind of model can be spread over ranks yet")
    return model
