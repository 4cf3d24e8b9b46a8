"""Where the deployment's files are, and what they have to agree with."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).parents[2]
CLUSTER = PROJECT / "cluster"

VERSION: str = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]


def pinned(package: str) -> str:
    """The version of ``package`` in constraints.txt."""
    found = re.search(rf"^{re.escape(package)}==(\S+)$", (PROJECT / "constraints.txt").read_text(), re.MULTILINE)
    assert found is not None, f"{package} is not in constraints.txt"
    return found[1]


def documents(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document is not None]


def document(path: Path) -> dict[str, Any]:
    (only,) = documents(path)
    return only
