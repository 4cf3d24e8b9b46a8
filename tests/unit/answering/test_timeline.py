"""What an answer looks like: as text, as JSON, as columns and as HTML."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from xml.etree import ElementTree

import pytest

from videox2l.answering import Answer, Covered, DegradedSpan, Receipt, Span, TokenLogprob
from videox2l.answering.html import answer_html, timeline_svg
from videox2l.answering.timeline import columns

RECEIPT = Receipt(
    bytes_read={"prompt": 0, "high": 1024, "low": 2048},
    bytes_from={},
    bytes_used={},
    cache={},
    milliseconds={"first_token": 3.0, "total": 12.4},
    memory_tokens=30,
    question_tokens=8,
    answer_tokens=3,
)


def answer(chunks: int, scores: tuple[float | None, ...] | None = None, **fields: object) -> Answer:
    whole = Covered(chunks, 0.0, chunks * 10.0)
    made = Answer("Yes", "stop", "0" * 32, "a.mp4", "Is it?", (), (), chunks, whole, scores, RECEIPT)
    return dataclasses.replace(made, **fields)  # type: ignore[arg-type]


def test_columns_say_what_was_read_of_each_chunk() -> None:
    shown = columns(
        answer(
            5,
            (None, 0.1, 0.4, 0.2, None),
            spans=(Span(2, 20.0, 30.0, 0.4),),
            degraded=(DegradedSpan(3, 30.0, 40.0, "lost"),),
            covered=Covered(3, 10.0, 40.0, first_chunk=1),
        ),
        80,
    )
    assert [column.seen for column in shown] == ["outside", "gist", "detail", "degraded", "outside"]
    assert [column.relevance for column in shown] == [None, 0.25, 1.0, 0.5, None]


def test_chunks_that_share_a_column_show_their_best_score_and_worst_news() -> None:
    scores = tuple(float(chunk) for chunk in range(1000))
    spans, lost = (Span(999, 0, 0), Span(3, 0, 0)), (DegradedSpan(990, 0, 0, "lost"),)
    shown = columns(answer(1000, scores, spans=spans, degraded=lost), 100)
    assert (len(shown), shown[0].first, shown[-1].last) == (100, 0, 999)
    assert all(before.last + 1 == after.first for before, after in itertools.pairwise(shown))
    assert (shown[0].seen, shown[1].seen, shown[-1].seen) == ("detail", "gist", "degraded")
    assert (shown[-1].relevance, shown[49].relevance) == (1.0, pytest.approx(499 / 999))


def test_scores_that_say_nothing() -> None:
    assert [column.relevance for column in columns(answer(2, (0.0, 0.0)), 9)] == [0.0, 0.0]
    assert [column.relevance for column in columns(answer(2, (-1.0, 2.0)), 9)] == [0.0, 1.0]
    assert [column.relevance for column in columns(answer(2), 9)] == [None, None]
    assert columns(answer(0), 9) == []


def test_text_and_one_line_of_evidence() -> None:
    shown = str(answer(8, spans=tuple(Span(chunk, chunk * 10.0, chunk * 10.0 + 10) for chunk in range(5))))
    assert (
        shown == "Yes\nin detail: 0.0–10.0 s, 10.0–20.0 s, 20.0–30.0 s, 2 more (5 of 8 chunks) · 3.0 KiB read · 12 ms"
    )


def test_json_has_no_infinities() -> None:
    given = answer(1, logprobs=(TokenLogprob("a", -math.inf, (97,), (TokenLogprob("b", -0.5, (98,)),)),))
    document = json.loads(given.to_json())
    assert document["logprobs"][0]["logprob"] is None
    assert document["logprobs"][0]["top"][0]["logprob"] == -0.5
    assert json.loads(given.to_json(indent=None)) == document
    assert "\n" not in given.to_json(indent=None)


@pytest.mark.parametrize("chunks", [0, 1, 7, 5000])
def test_html_is_well_formed_and_runs_nothing(chunks: int) -> None:
    """Whatever a question, an answer or a file name holds is text."""
    hostile = "<script>alert(1)</script> & \" ' <img src=x onerror=alert(1)>"
    given = answer(
        chunks,
        tuple(1.0 for _ in range(chunks)),
        text=hostile,
        question=hostile,
        video_name=hostile,
        degraded=tuple(DegradedSpan(chunk, 0.0, 1.0, hostile) for chunk in range(min(chunks, 2))),
    )
    root = ElementTree.fromstring(answer_html(given))
    assert {element.tag.rpartition("}")[2] for element in root.iter()} <= {"div", "svg", "rect", "title"}
    assert hostile in "".join(root.itertext())
    assert not any(name.startswith("on") or "href" in name for element in root.iter() for name in element.attrib)


def test_the_picture_shows_relevance_and_what_was_read() -> None:
    given = answer(4, (0.1, 0.2, 0.4, 0.1), spans=(Span(2, 20.0, 30.0, 0.4),))
    bars = list(ElementTree.fromstring(timeline_svg(given)))
    heights = [float(bar.attrib["height"]) for bar in bars]
    assert heights.index(max(heights)) == 2
    assert bars[2].attrib["fill"] != bars[1].attrib["fill"]
    assert "".join(bars[2].itertext()) == "chunk 2, 20.0–30.0 s, score 0.4: read in detail"
    assert "".join(bars[0].itertext()) == "chunk 0, score 0.1: gist"
