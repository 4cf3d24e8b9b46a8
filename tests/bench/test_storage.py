from __future__ import annotations

import pytest

from pipelines.bench.storage import CLIENTS, PLAIN, Case, measure, table
from pipelines.bench.storage_kvs import measure_kvs
from tests.s3.server import s3_bucket, s3_server
from videox2l.errors import ConfigError
from videox2l.store.storage import Storage

__all__ = ["s3_bucket", "s3_server"]


def test_every_client_reads_every_case_and_nothing_stays(s3_bucket: str) -> None:
    cases = [Case("several", 2**16, 3, 2), Case("one", 2**12, 1, 1)]
    figures = measure(s3_bucket, repeats=1, cases=cases)
    assert [(figure.case, figure.client) for figure in figures] == [(case, name) for case in cases for name in CLIENTS]
    assert all(figure.ratio == 1 for figure in figures if figure.client == PLAIN)
    assert table(figures).row_count == len(figures)
    assert Storage(s3_bucket).names("bench") == []


@pytest.mark.parametrize(("url", "repeats"), [("/a/folder", 1), ("s3://bucket", 0)])
def test_wrong_usage(url: str, repeats: int) -> None:
    with pytest.raises(ConfigError):
        measure(url, repeats)


def test_kvs_from_storage(s3_bucket: str) -> None:
    figure = measure_kvs(s3_bucket, repeats=2, chunk_bytes=2**18)
    assert figure.bytes >= 8 * 2**17
    assert 0 < figure.least <= figure.ratio <= figure.most
    assert "verified tensors" in str(figure)
    assert Storage(s3_bucket).names("bench") == []
