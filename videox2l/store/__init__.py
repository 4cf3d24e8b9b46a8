"""Archives of KVs, on a local folder or in object storage: written once, verified on every read."""

from videox2l.store.archive import Archive
from videox2l.store.catalog import CatalogRow
from videox2l.store.entries import ChunkEntry, ShardEntry, StoredAttachment, StoredKV
from videox2l.store.layout import Part
from videox2l.store.lookup import VideoEntry
from videox2l.store.manifest import Manifest, Totals
from videox2l.store.reader import IndexReader, LowRead
from videox2l.store.spec import DEFAULT_CODECS, DTYPES, ROPE_CONVENTION, IndexSpec
from videox2l.store.writer import IndexWriter

__all__ = [
    "DEFAULT_CODECS",
    "DTYPES",
    "ROPE_CONVENTION",
    "Archive",
    "CatalogRow",
    "ChunkEntry",
    "IndexReader",
    "IndexSpec",
    "IndexWriter",
    "LowRead",
    "Manifest",
    "Part",
    "ShardEntry",
    "StoredAttachment",
    "StoredKV",
    "Totals",
    "VideoEntry",
]
