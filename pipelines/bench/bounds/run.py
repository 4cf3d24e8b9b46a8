"""Some or all parts of one size, one after the other."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from pipelines.bench.bounds import decode, first_token, mix, prefill, selection, store
from pipelines.bench.bounds.sizes import Size, Subject, make_subject
from pipelines.bench.prefill import device_name
from pipelines.bench.rows.report import Report, Row, Section, Setup
from pipelines.bench.rows.timing import keep_freed_memory

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

    ``details``: of ``prefill``, seconds of it and of its bound after each chunk of the longest video.

    :raises ModelError: a prefill that does not fit the device.
    """
    keep_freed_memory()
    progress("making weights")
    subject = make_subject(size, device, dtype)
    details: dict[str, Any] = {}
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(dir=folder, prefix="videox2l-bench-") as place:
        for part in parts:
            progress(part)
            rows += _rows(part, subject, Path(place), repeats, details, progress)
    setup = Setup(size.name, device_name(device), str(dtype).removeprefix("torch."), torch.get_num_threads())
    return Report((Section(setup, tuple(rows)),), details)


def _rows(
    part: str,
    subject: Subject,
    folder: Path,
    repeats: int,
    details: dict[str, Any],
    progress: Progress,
) -> Iterator[Row]:
    if part == "prefill":
        for rows, prefilled in prefill.measure(subject, progress):
            details["prefill"] = prefilled.growth  # the last video is the longest
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
