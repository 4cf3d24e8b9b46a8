"""One rank of a model: a Ray actor, in a process of its own as DeepSpeed wants it."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
import torch

from videox2l.answering import Answer, ResidentVideo, TimeRange
from videox2l.config import CompressionConfig, GenerationConfig, SamplingConfig, SelectionConfig
from videox2l.identity import VideoIdentity
from videox2l.parallel import (
    ask_over_ranks,
    ingest_over_ranks,
    load_model_parallel,
    prefill_over_ranks,
    resident_over_ranks,
)
from videox2l.prefill import index_spec
from videox2l.store import Archive


def free_address() -> str:
    """This machine, and a port that is free now."""
    with socket.socket() as found:
        found.bind(("", 0))
        return f"{ray.util.get_node_ip_address()}:{found.getsockname()[1]}"


class Rank:
    """Calls that all ranks of a group get alike. Rank 0 returns the result, the others nothing."""

    def __init__(self, rank: int, ranks: int, threads: int = 1) -> None:
        """``threads``: that PyTorch uses on a CPU; Ray gives an actor as many as it has CPUs, rounded down."""
        torch.set_num_threads(threads)
        self._rank, self._ranks = rank, ranks
        self._resident: ResidentVideo | None = None

    def address(self) -> str:
        """Where the ranks can meet if this is rank 0."""
        return free_address()

    def load(self, model: str, address: str, device: str | None, dtype: str | None) -> None:
        self._model = load_model_parallel(
            model, rank=self._rank, ranks=self._ranks, address=address, device=device, dtype=dtype
        )

    def ingest(
        self,
        archive_url: str,
        storage_options: Mapping[str, Any] | None,
        source: str | Path,
        sampling: SamplingConfig | None,
        compression: CompressionConfig | None,
        replace: bool,
    ) -> tuple[VideoIdentity, bool] | None:
        archive = self._archive(archive_url, storage_options)
        done = ingest_over_ranks(
            self._model, archive, source, sampling=sampling, compression=compression, replace=replace
        )
        return done if self._model.ranks.leads else None

    def find(
        self,
        archive_url: str,
        storage_options: Mapping[str, Any] | None,
        source: str | Path,
        sampling: SamplingConfig,
        compression: CompressionConfig | None,
    ) -> tuple[str, str] | None:
        archive = self._archive(archive_url, storage_options)
        spec = index_spec(self._model, sampling, compression or self._model.default_compression)

        def look() -> tuple[str, str] | None:
            assert archive is not None, "rank 0 has it"
            found = archive.find_index(archive.identify(source), spec)
            return None if found is None else (found.manifest.video.video_id, found.manifest.index_fp)

        return self._model.ranks.lead(look)

    def _archive(self, url: str, storage_options: Mapping[str, Any] | None) -> Archive | None:
        """On rank 0 alone; made if there is none."""
        return self._model.ranks.together(
            lambda: Archive.open(url, create=True, storage_options=storage_options) if self._model.ranks.leads else None
        )

    def follow_prefill(self, compression: CompressionConfig, total: int) -> None:
        """This rank's part of a prefill that rank 0 leads from elsewhere."""
        prefill_over_ranks(self._model, compression, None, total, None)

    def ask(
        self,
        archive_url: str,
        storage_options: Mapping[str, Any] | None,
        video: str,
        index_fp: str | None,
        question: str,
        selection: SelectionConfig | None,
        generation: GenerationConfig | None,
        time_range: TimeRange | None,
    ) -> Answer | None:
        fingerprint = self._model.identity.fingerprint
        reader = self._model.ranks.together(
            lambda: Archive.open(archive_url, storage_options=storage_options).open_index(
                video, model_fingerprint=fingerprint, index_fp=index_fp
            )
        )
        # Always asked for: whether the index is a new one must be decided by all ranks alike.
        opened = resident_over_ranks(self._model, reader)
        if self._resident is None or self._resident.manifest.attempt != opened.manifest.attempt:
            self._resident = opened
        answer = ask_over_ranks(self._model, self._resident, question, selection, generation, time_range)
        return answer if self._model.ranks.leads else None
