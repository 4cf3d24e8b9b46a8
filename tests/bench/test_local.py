from __future__ import annotations

from pipelines.bench.local import measure, table
from videox2l.kv.codecs import CODECS


def test_every_codec_is_read_beside_plain_reads() -> None:
    figures = measure(repeats=1, chunk_bytes=2**16)
    assert [figure.name for figure in figures] == ["plain read()", *CODECS]
    assert figures[0].ratio == 1
    assert table(figures).row_count == len(figures)
