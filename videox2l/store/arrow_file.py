"""An Arrow IPC file that is made in memory, and where in it everything lies."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa


class ArrowFile:
    """Grows by a record batch at a time. ``empty``: it has none yet."""

    def __init__(self, schema: pa.Schema) -> None:
        self.empty = True
        self._schema = schema
        self._sink = io.BytesIO()
        self._writer = pa.ipc.new_file(self._sink, schema)

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._sink.tell()

    @contextmanager
    def add(self, arrays: Sequence[pa.Array]) -> Iterator[tuple[int, memoryview]]:
        """Add a batch, a column an array; gives its encapsulated message's offset in the file, and its bytes."""
        batch = pa.record_batch(arrays, schema=self._schema)
        self._writer.write_batch(batch)
        self.empty = False
        # The writer puts the file's header before the first batch, so the message is located from its end.
        length = pa.ipc.get_record_batch_size(batch)
        end = self._sink.tell()
        with self._sink.getbuffer() as whole, whole[end - length : end] as message:
            yield end - length, message  # until it is released the file cannot grow

    def finish(self) -> bytes:
        """The whole file."""
        self._writer.close()
        return self._sink.getvalue()


def locate(message: memoryview, schema: pa.Schema) -> tuple[tuple[int, int], ...]:
    """Where in ``message`` each column's data lie: offset and length. Columns are binary or fixed-size primitives."""
    whole = pa.py_buffer(message)
    batch = pa.ipc.read_record_batch(whole, schema)
    data = [column.buffers()[-1] for column in batch.columns]
    return tuple(
        (0, 0) if found is None or not found.size else (found.address - whole.address, found.size) for found in data
    )
