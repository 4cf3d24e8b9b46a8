"""The examples of docs/archive-format.md are what our writer writes, and its reader in Python reads an archive."""

from __future__ import annotations

import ast
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.docs.pages import ROOT, Shown, blocks
from tests.unit.store.samples import random_chunks, write_index
from videox2l.identity import canonical_json
from videox2l.store import Archive
from videox2l.store.documents import seal, unseal

PAGE = ROOT / "docs" / "archive-format.md"


def block(begins: str) -> Shown:
    (found,) = [shown for shown in blocks(PAGE) if shown.text.startswith(begins)]
    return found


def test_the_sealed_document_is_one() -> None:
    shown = block('{\n"format_version"').text.encode()
    assert seal(unseal(shown, "the page")) == shown


def test_the_canonical_json_is_that_of_the_document_beside_it() -> None:
    written, canonical = (line.rsplit(maxsplit=1)[0].strip() for line in block('{"sampling"').text.splitlines())
    assert canonical_json(ast.literal_eval(written)).decode() == canonical


def test_the_fingerprint_is_that_of_the_text() -> None:
    text = re.sub(r"\n( ?)", r"\1", block('{"codecs"').text).strip()
    assert canonical_json(json.loads(text)).decode() == text
    assert f"`{hashlib.sha256(text.encode()).hexdigest()[:32]}`" in PAGE.read_text(encoding="utf-8")


def test_the_python_reads_the_first_high_kv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chunks = random_chunks(2)
    write_index(Archive.open(tmp_path / "archive", create=True), chunks)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(block("import json, pathlib").text, names)
    assert np.array_equal(names["keys"], chunks[0]["high"].keys_LHTD.numpy())
    assert np.array_equal(names["values"], chunks[0]["high"].values_LHTD.numpy())
