"""One rank of a model: a Ray actor, in a process of its own as DeepSpeed wants it."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray

from videox2l.answering import Answer, ResidentVideo, TimeRange
from videox2l.config import CompressionConfig, GenerationConfig, SamplingConfig, SelectionConfig
from videox2l.identity import VideoIdentity
from videox2l.parallel import ask_over_ranks, ingest_over_ranks, load_model_parallel, resident_over_ranks
from videox2l.store import Archive


class Rank:
    """Calls that all ranks of a group get alike. Rank 0 returns the result, the others nothing."""

    def __init__(self, rank: int, ranks: int) -> None:
        self._rank, self._ranks = rank, ranks
        self._resident: ResidentVideo | None = None

    def address(self) -> str:
        """Where the ranks can meet if this is rank 0: its machine, and a port that is free now."""
        with socket.socket() as found:
            found.bind(("", 0))
            return f"{ray.util.get_node_ip_address()}:{found.getsockname()[1]}"

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
        archive = self._model.ranks.together(
            lambda: (
                Archive.open(archive_url, create=True, storage_options=storage_options)
                if self._model.ranks.leads
                else None
            )
        )
        done = ingest_over_ranks(
            self._model, archive, source, sampling=sampling, compression=compression, replace=replace
        )
        return done if self._model.ranks.leads else None

    def ask(
        self,
        archive_url: str,
        storage_options: Mapping[str, Any] | None,
        video: str,
        question: str,
        selection: SelectionConfig | None,
        generation: GenerationConfig | None,
        time_range: TimeRange | None,
    ) -> Answer | None:
        reader = self._model.ranks.together(
            lambda: Archive.open(archive_url, storage_options=storage_options).open_index(video)
        )
        # Always asked for: whether the index is a new one must be decided by all ranks alike.
        opened = resident_over_ranks(self._model, reader)
        if self._resident is None or self._resident.manifest.attempt != opened.manifest.attempt:
            self._resident = opened
        answer = ask_over_ranks(self._model, self._resident, question, selection, generation, time_range)
        return answer if self._model.ranks.leads else None
