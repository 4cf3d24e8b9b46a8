"""Where an ingest spends its time, and how near it comes to the least that it takes: ``videox2l bench ingest``.

* ``run.py``: rendered clips, a real ingest of them, and the same work without the pipeline (``bare.py``).
* ``tables.py``: the figures for people; ``rows.py``: those beside a bound.
"""
