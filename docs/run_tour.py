"""Run ``tour.py`` as a notebook and write it with its output: ``python docs/run_tour.py [FILE.ipynb]``."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent

# A cell that takes longer hangs: all of them together take seconds.
CELL_TIMEOUT_S = 120


def notebook(source: str) -> Any:
    """Cells of a script in the percent format: ``# %%`` begins one of code, ``# %% [markdown]`` one of comments."""
    cells = []
    for number, part in enumerate(re.split(r"^# %%", source, flags=re.MULTILINE)[1:]):
        heading, _, body = part.partition("\n")
        if heading.strip() == "[markdown]":
            text = "\n".join(line.removeprefix("#").removeprefix(" ") for line in body.strip().splitlines())
            cell = nbformat.v4.new_markdown_cell(text)
        else:
            cell = nbformat.v4.new_code_cell(body.strip())
        cells.append({**cell, "id": f"cell-{number}"})  # random ids would change with every run
    return nbformat.from_dict({**nbformat.v4.new_notebook(), "cells": cells})


def run(target: Path) -> None:
    """Raises ``CellExecutionError`` where a cell fails."""
    # Of progress bars that this notebook does not use; with it a path of this machine would be printed.
    os.environ["PYTHONWARNINGS"] = "ignore:IProgress not found"
    made = notebook((HERE / "tour.py").read_text(encoding="utf-8"))
    NotebookClient(made, timeout=CELL_TIMEOUT_S, kernel_name="python3", record_timing=False).execute()
    nbformat.validate(made)
    nbformat.write(made, target)


if __name__ == "__main__":
    run(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "tour.ipynb")
