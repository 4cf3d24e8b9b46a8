"""A run's report as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from videox2l.evaluation.benchmarks.records import SELECTED
from videox2l.evaluation.benchmarks.statistics import Estimate
from videox2l.evaluation.benchmarks.summary import Summary

# Problems and reasons shown of each kind; the JSON report has all.
_NAMED = 20


def render(summary: Summary) -> str:
    """The whole report."""
    return "\n\n".join(_blocks(summary)) + "\n"


def _blocks(summary: Summary) -> Iterator[str]:
    about = summary.about
    yield f"# {about['title']}: {about['model']}"
    yield "\n".join(f"- {name}: {value}" for name, value in about.items() if name not in ("title", "model"))
    counted = (
        f" They count by {summary.tries}: a group is right if all of its answers are." if summary.tries > 1 else ""
    )
    yield (
        f"{summary.questions} questions about {summary.videos} videos.{counted} Accuracies are in percent with their "
        "standard errors, which take questions about one video as dependent. *Gain* is the selection's accuracy minus "
        "that of the line, over the questions that both answered, in points."
    )
    yield _conditions(summary)
    yield from _notes(summary)
    groups = summary.conditions[0].groups if summary.conditions else {}
    for group in groups:
        yield f"## By {group}"
        yield _group(summary, group)
    if summary.problems:
        yield "## Not measured"
        yield _problems(summary)


def _conditions(summary: Summary) -> str:
    rows = [
        [
            condition.condition,
            percent(condition.score),
            "" if condition.condition == SELECTED else percent(condition.gain, signed=True),
            str(condition.score.count if condition.score else 0),
            str(condition.failed),
            str(condition.no_letter),
            "–" if condition.memory_tokens is None else f"{condition.memory_tokens:.0f}",
            "–" if not condition.bytes_used else f"{condition.bytes_used / 2**20:.2f}",
        ]
        for condition in summary.conditions
    ]
    if summary.chance is not None:
        rows.append(["chance", f"{100 * summary.chance:.1f}", *[""] * 6])
    heads = ["condition", "accuracy", "gain", "scored", "failed", "no letter", "memory tokens", "KVs (MiB)"]
    return table(heads, rows)


def _notes(summary: Summary) -> Iterator[str]:
    if summary.without_answer:
        yield f"The right answers to {summary.without_answer} questions are not public: these are not scored."
    for condition in summary.conditions:
        if condition.degraded:
            yield (
                f"**{condition.condition}**: in {condition.degraded} answers, chosen chunks could not be re-loaded and "
                "were answered from high KVs."
            )
        if condition.reasons:
            shown = sorted(condition.reasons.items(), key=lambda pair: -pair[1])
            lines = [f"- {count} ×: {reason}" for reason, count in shown[:_NAMED]]
            more = [f"- and {len(shown) - _NAMED} more reasons"] if len(shown) > _NAMED else []
            yield "\n".join(
                [f"**{condition.condition}** gave no answer to {condition.failed} questions:\n", *lines, *more]
            )


def _group(summary: Summary, group: str) -> str:
    values = sorted({value for condition in summary.conditions for value in condition.groups[group]})
    rows = []
    for value in values:
        estimates = [condition.groups[group].get(value) for condition in summary.conditions]
        count = max(estimate.count for estimate in estimates if estimate is not None)
        rows.append([value, str(count), *map(percent, estimates)])
    return table([group, "scored", *(condition.condition for condition in summary.conditions)], rows)


def _problems(summary: Summary) -> str:
    blocks = []
    for kind, count in summary.lost.items():
        of_kind = [problem for problem in summary.problems if problem.kind == kind]
        lines = [f"- {problem.where}: {problem.why}" for problem in of_kind[:_NAMED]]
        more = [f"- and {len(of_kind) - _NAMED} more"] if len(of_kind) > _NAMED else []
        heading = f"**{kind.replace('_', ' ')}**, {count} question{'s' if count != 1 else ''}:\n"
        blocks.append("\n".join([heading, *lines, *more]))
    return "\n\n".join(blocks)


def percent(estimate: Estimate | None, *, signed: bool = False) -> str:
    """``61.3 ± 2.1``; without the error where too few videos leave it unknown."""
    if estimate is None:
        return "–"
    mean = f"{100 * estimate.mean:{'+' if signed else ''}.1f}"
    return mean if estimate.standard_error is None else f"{mean} ± {100 * estimate.standard_error:.1f}"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns behind the first are numbers."""
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)], *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)
