"""Python on any page is Python, and what it calls of ours is there and takes these arguments.

That docs/python.md prints what it says is a test of its own.
"""

from __future__ import annotations

import ast
import builtins
import functools
import importlib
import inspect
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import PAGES, ROOT, blocks

OURS = ("videox2l", "pipelines")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_of_a_page(page: Path) -> None:
    names: dict[str, Any] = {}
    for block in blocks(page):
        if block.language == "python":
            tree = ast.parse(block.text, filename=block.place)
            for node in ast.walk(tree):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    bring(node, names, block.place)
            for node in ast.walk(tree):
                if isinstance(node, ast.Call):
                    fits(node, names, block.place)


def bring(node: ast.Import | ast.ImportFrom, names: dict[str, Any], place: str) -> None:
    """Import what ``node`` does, where it is ours."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            if alias.name.split(".")[0] in OURS:
                module = importlib.import_module(alias.name)
                names[alias.asname or alias.name.split(".")[0]] = module if alias.asname else _top(alias.name)
    elif (node.module or "").split(".")[0] in OURS:
        module = importlib.import_module(str(node.module))
        for alias in node.names:
            assert hasattr(module, alias.name), f"{place}: {node.module} has no {alias.name}"
            names[alias.asname or alias.name] = getattr(module, alias.name)


def fits(call: ast.Call, names: dict[str, Any], place: str) -> None:
    """Whether what is called takes these arguments, where it is ours and can be told without running anything."""
    text = ast.unparse(call.func)
    first, *path = text.split(".") if all(part.isidentifier() for part in text.split(".")) else [""]
    if first not in names or hasattr(builtins, first):
        return
    try:
        called = functools.reduce(getattr, path, names[first])
    except AttributeError as error:
        raise AssertionError(f"{place}: there is no {text}") from error
    if any(isinstance(word, ast.Starred) for word in call.args) or any(word.arg is None for word in call.keywords):
        return
    try:
        inspect.signature(called).bind(*call.args, **{str(word.arg): word.value for word in call.keywords})
    except TypeError as error:
        raise AssertionError(f"{place}: {ast.unparse(call)}: {error}") from error


def _top(name: str) -> Any:
    return importlib.import_module(name.split(".")[0])


def test_a_name_that_is_gone_and_an_argument_that_is_none_are_found() -> None:
    names: dict[str, Any] = {}
    (first,) = ast.parse("from videox2l import Archive").body
    assert isinstance(first, ast.ImportFrom)
    bring(first, names, "here")
    for wrong in ("Archive.opened('x')", "Archive.open('x', storage='y')"):
        call = ast.parse(wrong, mode="eval").body
        assert isinstance(call, ast.Call)
        with pytest.raises(AssertionError, match=r"here: .*Archive\.open"):
            fits(call, names, "here")
