"""Some or all parts of one size, one after the other."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch

from pipelines.bench.bounds import decode, first_token, mix, prefill, selection, store
from pipelines.bench.bounds.report import Report, Row
from pipelines.bench.bounds.sizes import Size, Subject, make_subject
from pipelines.bench.bounds.timing import keep_freed_memory
from pipelines.bench.prefill import device_name

Progress = Callable[[str], None]

PARTS = ("prefill", "mix", "first-token", "decode", "store", "selection")


def run(
    size: Size,
    parts: Sequence[str],
    *,
    device: torch.device,
    dtype: torch.dtype,
    repeats: int,
    folder: Path | None,
    progress: Progress,
) -> Report:
    """Measure ``parts`` of :data:`PARTS`; archives are written below ``folder`` for a while.

    :raises ModelError: a prefill that does not fit the device.
    """
    keep_freed_memory()
    progress("making weights")
    subject = make_subject(size, device, dtype)
    growth: dict[str, tuple[float, ...]] = {}
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(dir=folder, prefix="videox2l-bench-") as place:
        for part in parts:
            progress(part)
            rows += _rows(part, subject, Path(place), repeats, growth, progress)
    return Report(
        size=size.name,
        device=device_name(device),
        dtype=str(dtype).removeprefix("torch."),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        rows=tuple(rows),
        growth=growth,
    )


def _rows(
    part: str,
    subject: Subject,
    folder: Path,
    repeats: int,
    growth: dict[str, tuple[float, ...]],
    progress: Progress,
) -> Iterator[Row]:
    if part == "prefill":
        for rows, prefilled in prefill.measure(subject, progress):
            growth.update(prefilled.growth)  # the last video is the longest
            yield from rows
        return
    measures: Mapping[str, Callable[[], Iterator[Row]]] = {
        "mix": lambda: mix.measure(subject, repeats),
        "first-token": lambda: first_token.measure(subject, folder, repeats, progress),
        "decode": lambda: decode.measure(subject, folder, repeats, progress),
        "store": lambda: store.measure(subject, folder, repeats, progress),
        "selection": lambda: selection.measure(subject, repeats, progress),
    }
    yield from measures[part]()
