"""The outcome of a batch in words."""

from __future__ import annotations

import io

from rich.console import Console

from pipelines.batch import BatchSummary


def words(summary: BatchSummary) -> list[str]:
    stream = io.StringIO()
    Console(file=stream, width=200).print(summary)
    return stream.getvalue().splitlines()


def test_a_run_that_answered_everything() -> None:
    summary = BatchSummary(
        "a.parquet",
        videos=3,
        questions=150,
        earlier=50,
        answer_tokens=700,
        read={"prompt": 10, "high": 2048, "low": 3 * 2**20},
        used={"high": 2**30},
        wall_s=65.2,
        answering_s=50.0,
    )
    assert summary.ok
    assert words(summary) == [
        "150 of 150 questions about 3 videos answered in 1:05, 2.0 a second (50 by an earlier run)",
        "read: prompt 10 B, high 2.0 KiB, low 3.0 MiB; the answers rest on high 1.0 GiB; 700 tokens",
        "answers: a.parquet",
    ]


def test_failures_by_reason_the_most_frequent_first() -> None:
    failed = {f"reason {count}": count for count in range(1, 8)} | {"[red]odd[/] \\": 20}
    summary = BatchSummary("a.csv", 1, 100, failed=failed, degraded=4, notes=["1 other job"])
    assert not summary.ok
    assert words(summary)[0].startswith("52 of 100 questions about 1 videos answered")
    assert words(summary)[3:] == [
        "4 answers lack low KVs that were chosen: see their column `degraded`",
        "20 failed: [red]odd[/] \\",
        "7 failed: reason 7",
        "6 failed: reason 6",
        "5 failed: reason 5",
        "4 failed: reason 4",
        "6 failed for other reasons: see `error`",
        "1 other job",
    ]


def test_a_dry_run() -> None:
    summary = BatchSummary("a.csv", 2, 9, earlier=4, read={"high": 100, "low": 0}, planned=True)
    assert words(summary) == [
        "9 questions about 2 videos; 4 are answered already",
        "would read at most high 100 B, low 0 B",
    ]


def test_nothing_to_do() -> None:
    summary = BatchSummary("a.csv", 1, 9, earlier=9)
    assert summary.per_second == 0.0
    assert words(summary)[0].endswith("answered in 0:00 (9 by an earlier run)")
    assert words(summary)[1].startswith("read: nothing; the answers rest on nothing")
