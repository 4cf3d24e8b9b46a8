"""One small Ray cluster for all tests of a session: starting one takes longer than most tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import ray

from pipelines.local_ray import start_local

# Logical: two prefill workers and one process that decodes. More would only share the same cores.
CPUS = 3

# Enough for the tiny clips of all tests together, little enough that unbounded decoding would be noticed.
OBJECT_STORE_BYTES = 150 * 2**20


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    start_local(CPUS, OBJECT_STORE_BYTES)
    yield
    ray.shutdown()
