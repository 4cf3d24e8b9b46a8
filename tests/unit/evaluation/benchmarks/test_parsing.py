from __future__ import annotations

from pathlib import Path

import pytest

from videox2l.evaluation.benchmarks import Item, benchmark


def item(options: int = 4, name: str = "q") -> Item:
    return Item(name, Path("v.mp4"), "?", options, "A", {}, name, "v")


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        ("B. Blue.", "B"),
        ("The best answer is C", "C"),
        ("The correct option is D.", "D"),
        ("(D)", "D"),
        ("none of them", ""),
        ("E", ""),
        ("", ""),
    ],
)
def test_videomme(text: str, letter: str):
    assert benchmark("videomme").parse(text, item()).letter == letter


@pytest.mark.parametrize(
    ("text", "options", "letter"),
    [("B) Blue", 4, "B"), ("(C) A dog", 4, "C"), (" f) x", 6, ""), ("F) Gold", 6, "F"), ("F) x", 4, ""), ("D", 4, "D")],
)
def test_mlvu(text: str, options: int, letter: str):
    assert benchmark("mlvu").parse(text, item(options)).letter == letter


@pytest.mark.parametrize(
    ("text", "letter"),
    # The last two are the script's own ways: letters in the order of the alphabet, and of words, too.
    [("C. fox", "C"), ("D", "D"), ("fox. A", ""), ("D or B", "B"), ("Cannot tell", "C")],
)
def test_vnbench(text: str, letter: str):
    assert benchmark("vnbench").parse(text, item()).letter == letter


def test_longvideobench_guesses_the_same_every_time():
    parse = benchmark("longvideobench").parse
    assert parse("E. a boat", item(5)) == parse("The answer is E", item(5))
    guesses = [parse("no idea", item(5, f"q{n}")) for n in range(200)]
    assert guesses == [parse("no idea", item(5, f"q{n}")) for n in range(200)]
    assert all(choice.guessed for choice in guesses)
    # Of 200 among five, each 40 times; below 20 is four standard deviations away.
    assert min(sum(choice.letter == letter for choice in guesses) for letter in "ABCDE") >= 20
