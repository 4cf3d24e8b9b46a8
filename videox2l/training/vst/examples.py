"""Training data: a list of questions and answers about videos, and the order in which they are learned from."""

from __future__ import annotations

import functools
import io
import json
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow
import torch
from pyarrow import parquet

from videox2l.errors import ConfigError
from videox2l.models.video_xl.prompt import answer_ids, question_ids
from videox2l.paths import expanded

COLUMNS = ("video", "question", "answer")
"""All text. ``video``: path or URL; a relative path counts from the list's folder. Other columns are passed over."""

_NAMED = 3  # missing videos that a message names; more would bury what to do about them


@dataclass(frozen=True)
class Example:
    """One video and some (question, answer) pairs about it, which share its prefill."""

    video: str
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class AnswerTokens:
    """Questions with their answers as token rows ``ids_BJT`` (B is 1).

    ``wanted_BJT`` marks the rows whose next token belongs to the answer; ``targets_X`` is that token for each of them.
    """

    ids_BJT: torch.Tensor
    wanted_BJT: torch.Tensor
    targets_X: torch.Tensor


def read_examples(source: str | Path, questions: int) -> list[Example]:
    """The examples in a ``.jsonl`` or ``.parquet`` list (path or URL) with the columns of :data:`COLUMNS`.

    Rows about the same video come together, at most ``questions`` to an example.

    :raises ConfigError: the list cannot be read, a row is wrong (its number is named), or local videos are missing.
    """
    url = str(source)
    rows = list(_rows(url))
    if not rows:
        raise ConfigError(f"{url} has no rows: each row needs {', '.join(COLUMNS)}")
    by_video: dict[str, list[tuple[str, str]]] = {}
    for number, row in enumerate(rows, start=1):
        video, question, answer = _checked(row, f"{url}, row {number}")
        by_video.setdefault(_resolved(video, url), []).append((question, answer))
    _require_files(list(by_video), url)
    return [
        Example(video, tuple(pairs[first : first + questions]))
        for video, pairs in by_video.items()
        for first in range(0, len(pairs), questions)
    ]


def example_at(examples: Sequence[Example], position: int, seed: int) -> Example:
    """What is learned from at ``position`` of a run. Every epoch has an order of its own, which the seed decides."""
    epoch, place = divmod(position, len(examples))
    return examples[int(_order(len(examples), seed, epoch)[place])]


def answer_tokens(tokenizer: Any, example: Example) -> AnswerTokens:
    """Token rows of an example. Control tokens written in the data are plain text."""
    pairs = [(question_ids(tokenizer, question), answer_ids(tokenizer, answer)) for question, answer in example.pairs]
    width = max(len(question) + len(answer) for question, answer in pairs)
    # What stands behind an answer is seen by no row that is asked; any token will do.
    ids_JT = torch.zeros(len(pairs), width, dtype=torch.long)
    wanted_JT = torch.zeros(ids_JT.shape, dtype=torch.bool)
    targets: list[int] = []
    for row, (question, answer) in enumerate(pairs):
        end = len(question) + len(answer)
        ids_JT[row, :end] = torch.tensor(question + answer)
        wanted_JT[row, len(question) - 1 : end - 1] = True
        targets += answer
    return AnswerTokens(ids_JT[None], wanted_JT[None], torch.tensor(targets))


@functools.lru_cache(maxsize=2)  # a step may end one epoch and begin the next
def _order(count: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, 1, epoch]).permutation(count)


def _rows(url: str) -> Iterator[Mapping[str, Any]]:
    suffix = posixpath.splitext(url)[1].lower()
    if suffix not in (".jsonl", ".parquet"):
        raise ConfigError(f"{url} is no training list: give a .jsonl or .parquet file with {', '.join(COLUMNS)}")
    try:
        with fsspec.open(url, "rb") as stream:
            data = stream.read()
    except (OSError, ImportError, ValueError) as error:
        raise ConfigError(f"cannot read the training list {url}: {error}") from error
    return _from_parquet(data, url) if suffix == ".parquet" else _from_jsonl(data, url)


def _from_parquet(data: bytes, url: str) -> Iterator[Mapping[str, Any]]:
    try:
        file = parquet.ParquetFile(io.BytesIO(data))
        missing = [name for name in COLUMNS if name not in file.schema_arrow.names]
        if missing:
            raise ConfigError(f"{url} lacks the column {', '.join(missing)}: it needs {', '.join(COLUMNS)}")
        yield from file.read(columns=list(COLUMNS)).to_pylist()
    except pyarrow.ArrowException as error:
        raise ConfigError(f"{url} is not a readable Parquet file: {error}") from error


def _from_jsonl(data: bytes, url: str) -> Iterator[Mapping[str, Any]]:
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{url} is not UTF-8 text: {error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ConfigError(f"{url}, line {number} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise ConfigError(f"{url}, line {number} is no object: write {_SAMPLE}")
        yield row


_SAMPLE = '{"video": "clip.mp4", "question": "Who speaks?", "answer": "The teacher."}'


def _checked(row: Mapping[str, Any], where: str) -> tuple[str, str, str]:
    for name in COLUMNS:
        if name not in row:
            raise ConfigError(f"{where} lacks {name!r}: write {_SAMPLE}")
        if not isinstance(row[name], str) or not row[name].strip():
            raise ConfigError(f"{where}: {name} must be text that is not empty, got {row[name]!r}")
    return row["video"].strip(), row["question"].strip(), row["answer"].strip()


def _resolved(video: str, list_url: str) -> str:
    if "://" in video:
        return video
    if "://" in list_url:
        return video if video.startswith("/") else posixpath.join(posixpath.dirname(list_url), video)
    return str(expanded(list_url).absolute().parent / expanded(video))


def _require_files(videos: Sequence[str], url: str) -> None:
    missing = [video for video in videos if "://" not in video and not Path(video).is_file()]
    if missing:
        names = ", ".join(missing[:_NAMED]) + (", …" if len(missing) > _NAMED else "")
        raise ConfigError(
            f"{len(missing)} of the {len(videos)} videos in {url} are not there: {names}. Relative paths count from "
            "the list's folder."
        )
