"""From what a model wrote to the letter that it chose."""

from __future__ import annotations

import hashlib
import re

from videox2l.evaluation.benchmarks.benchmark import Choice, Item

# What models write in front of a letter, all of which hold capitals that are no answers. Video-MME's own script means
# to remove these, but joins some of them by mistake; no letter from A to E stands in those.
_PREFIXES = (
    "The best answer is",
    "The correct answer is",
    "The answer is",
    "The answer",
    "The best option is",
    "The correct option is",
    "Best answer:",
    "Best option:",
)


def first_capital(text: str, letters: str) -> str:
    """The first capital of ``letters`` in an answer without such a prefix; empty where there is none."""
    for prefix in _PREFIXES:
        text = text.replace(prefix, "")
    found = re.search(f"[{letters}]", text)
    return found[0] if found else ""


def guess(item: Item) -> Choice:
    """One of the options by chance; the same one every time, so that scores repeat."""
    digest = hashlib.sha256(item.id.encode()).digest()
    return Choice(item.letters[int.from_bytes(digest[:8]) % item.options], guessed=True)
