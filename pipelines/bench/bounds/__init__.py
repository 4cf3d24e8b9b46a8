"""Each part of the system beside the least that its work takes on this machine, measured in the same run.

One file a part (:mod:`prefill`, :mod:`mix`, :mod:`first_token`, :mod:`decode`, :mod:`store`, :mod:`selection`), each
with one ``measure``. What a part is held against, its *bound*, is in the row: the stock model's forward over as many
tokens, one copy of the same bytes, plain reads and writes of them. Part and bound are run in turn, so that other work
on the machine slows both; their ratio is what counts, and what runs are compared by (:mod:`pipelines.bench.rows`).

Weights, KVs and visual tokens are random, which changes nothing of what is computed. Neither Ray nor a download is
needed. Parts that do need Ray: :mod:`pipelines.bench.with_ray`.
"""

from __future__ import annotations

from pipelines.bench.bounds.run import PARTS, run
from pipelines.bench.bounds.sizes import SIZES, Size

__all__ = ["PARTS", "SIZES", "Size", "run"]
