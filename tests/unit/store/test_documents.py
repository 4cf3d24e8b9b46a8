"""Manifests survive their own notation."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.store.samples import video
from videox2l.kv.chunk import LEVELS
from videox2l.store import ROPE_CONVENTION, ChunkEntry, IndexSpec, Manifest, ShardEntry, StoredKV

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
counts = st.integers(0, 2**40)
times = st.floats(0, 1e7, allow_nan=False)
values = st.one_of(st.none(), st.booleans(), counts, st.floats(allow_nan=False, allow_infinity=False), names)
settings_documents = st.dictionaries(names, st.one_of(values, st.lists(values, max_size=3)), max_size=4)
stored = st.builds(StoredKV, counts, names, counts, counts, names)
specs = st.builds(
    IndexSpec,
    names,
    settings_documents,
    settings_documents,
    settings_documents,
    *(st.integers(1, 256) for _ in range(3)),
    dtype=st.sampled_from(["float32", "bfloat16"]),
    rope=st.just(ROPE_CONVENTION),
)
chunk_fields = st.tuples(times, times, counts, st.fixed_dictionaries(dict.fromkeys(LEVELS, stored)))


@settings(max_examples=25, deadline=None)
@given(
    specs,
    stored,
    st.lists(chunk_fields, max_size=3),
    st.lists(st.builds(ShardEntry, names, st.sampled_from(["low", "high", "prompt"]), counts, names), max_size=3),
    st.dictionaries(names, names, max_size=2),
    names,
)
def test_manifest_round_trip(
    spec: IndexSpec,
    prompt: StoredKV,
    chunks: list[tuple],
    shards: list[ShardEntry],
    software: dict[str, str],
    attempt: str,
) -> None:
    table = tuple(ChunkEntry(index, *fields) for index, fields in enumerate(chunks))
    manifest = Manifest(video(), spec, prompt, table, tuple(shards), attempt, software, "2026-01-01T00:00:00+00:00")
    found = Manifest.from_json(manifest.to_json(), "manifest")
    assert found == manifest
    assert found.index_fp == spec.index_fp
