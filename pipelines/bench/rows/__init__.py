"""What every part of ``videox2l bench`` reports: its time beside its bound's, their ratio, and its peak memory.

``report.py``: rows, as a table and as JSON. ``compare.py``: one run against an earlier one. ``timing.py``: a part and
its bound in turn. ``peak_memory.py`` and ``process_memory.py``: of one process, and of all that work together.
"""

from __future__ import annotations

from pipelines.bench.rows.compare import Change, change_table, compare
from pipelines.bench.rows.report import Report, Row, Section, Setup, join, load_report, tables

__all__ = [
    "Change",
    "Report",
    "Row",
    "Section",
    "Setup",
    "change_table",
    "compare",
    "join",
    "load_report",
    "tables",
]
