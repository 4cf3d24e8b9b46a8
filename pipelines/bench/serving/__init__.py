"""How fast questions are answered: ``videox2l bench serve``.

* ``engine.py``: the engine in this process. ``service.py``: the service over HTTP, asked by ``load.py``, a process of
  its own. ``report.py``: the figures, as tables and as an SVG. ``rows.py``: those beside a bound.
"""

from pipelines.bench.serving.report import ServingFigures, tables
from pipelines.bench.serving.run import bench_serving

__all__ = ["ServingFigures", "bench_serving", "tables"]
