from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from pipelines.svg import Curve, log_curves

POLYLINE = "{http://www.w3.org/2000/svg}polyline"


def draw(*curves: Curve) -> list[list[tuple[float, float]]]:
    svg = log_curves(curves, "A <title>", "hours", str, str)
    found = ET.fromstring(svg).iter(POLYLINE)
    return [[tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()] for line in found]


def test_equal_ratios_are_equal_distances_on_both_axes() -> None:
    [points] = draw(Curve("a", [(1, 1), (10, 10), (100, 100)]))
    (x0, y0), (x1, y1), (x2, y2) = points
    assert x1 - x0 == pytest.approx(x2 - x1)
    assert y0 - y1 == pytest.approx(y1 - y2)
    assert y1 < y0  # up is more


@pytest.mark.parametrize("points", [[(1, 5)], [(1, 5), (2, 5)], [(0.25, 1e-6), (4, 2e3)]])
def test_any_range_stays_inside_the_picture(points: list[tuple[float, float]]) -> None:
    for x, y in draw(Curve("a", points))[0]:
        assert 0 <= x <= 760
        assert 0 <= y <= 340


def test_names_of_curves_that_end_together_do_not_overlap() -> None:
    svg = log_curves([Curve("one", [(1, 5)]), Curve("two & 2", [(1, 5)])], "", "", str, str)
    places = {
        node.text: float(node.attrib["y"]) for node in ET.fromstring(svg).iter() if node.text in ("one", "two & 2")
    }
    assert abs(places["one"] - places["two & 2"]) >= 14
