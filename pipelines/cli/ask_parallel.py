"""``videox2l ask --tensor-parallel``: the same question to a model that several processes hold together, on Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from pipelines.cli import options
from pipelines.cli.asking import is_file
from pipelines.ingest.cluster import ray_cluster
from pipelines.parallel import ParallelModel
from videox2l.answering import Answer, TimeRange
from videox2l.config import CompressionConfig, GenerationConfig, SamplingConfig, SelectionConfig
from videox2l.errors import ConfigError
from videox2l.models.registry import local_folder


def ask_over_ranks(
    ranks: int,
    model: str,
    video: str,
    question: str,
    archive: str,
    *,
    selection: SelectionConfig,
    generation: GenerationConfig,
    time_range: TimeRange | None,
    sampling: SamplingConfig,
    compression: CompressionConfig | None,
    device: str | None,
    dtype: str | None,
    storage_options: dict[str, Any] | None,
    notes: Console,
) -> Answer:
    """The answer, once it is whole. A file that the archive lacks is prefilled first.

    :raises VideoX2LError: the ranks have no room, do not fit the model, or as of :meth:`ParallelModel.ask`.
    """
    kind = None if device is None else device.partition(":")[0]
    if device != kind:
        raise ConfigError(f"several devices hold the model: give cpu or cuda, not {device}")
    where: dict[str, Any] = {"archive_url": options.absolute(archive), "storage_options": storage_options}
    made: dict[str, Any] = {"sampling": sampling, "compression": compression}
    name = options.absolute(model) if local_folder(model) is not None else model
    with (
        ray_cluster(ranks, 1) as ours,
        ParallelModel(name, ranks=ranks, device=kind, dtype=dtype, fixed_cluster=ours) as loaded,
    ):
        index_fp = None
        if is_file(video):
            file = options.absolute(video)
            found = loaded.find(file, **made, **where)
            if found is None:
                notes.print(f"prefilling {Path(file).name} on {ranks} ranks", style="dim", markup=False)
                loaded.ingest(file, **made, **where)
                found = loaded.find(file, **made, **where)
            assert found is not None, "it was committed"
            video, index_fp = found
        return loaded.ask(
            video,
            question,
            selection=selection,
            generation=generation,
            time_range=time_range,
            index_fp=index_fp,
            **where,
        )
