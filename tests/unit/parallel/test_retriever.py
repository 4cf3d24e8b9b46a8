"""A retriever beside two ranks: the vectors of a chunk are those that it has beside one device."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.retriever_checkpoints import KINDS, write_retriever
from tests.unit.parallel import programs
from tests.unit.parallel.processes import RankProcesses
from videox2l.errors import CheckpointError
from videox2l.models.retriever import OWN
from videox2l.models.video_xl.model import VideoXL
from videox2l.store import Archive

# Visual tokens come from a vision tower that rank 0 has as a whole, so nothing of them is summed over ranks; the bound
# is that of the KVs all the same. Vectors are stored in float16, of which one unit in the last place of 1 is 2^-11.
CLOSE = {"atol": 2**-11, "rtol": 0}


@pytest.mark.parametrize("kind", [OWN, *KINDS])
def test_vectors_are_those_of_one_device(
    two_ranks: RankProcesses, checkpoint: Path, model: VideoXL, tmp_path: Path, kind: str
) -> None:
    retriever = kind if kind == OWN else str(write_retriever(tmp_path / "retriever", kind))
    urls = {made_by: str(tmp_path / made_by) for made_by in ("one", "two")}
    programs.ingest_with(model, urls["one"], retriever)
    assert two_ranks.run(programs.ingest, checkpoint, urls["two"], False, retriever) == [None, None]
    one, two = (Archive.open(url).open_index(programs.VIDEO.video_id) for url in urls.values())
    assert one.manifest.retriever is not None
    assert two.manifest.retriever == one.manifest.retriever
    pairs = list(zip(two.vectors(), one.vectors(), strict=True))
    assert len(pairs) == programs.CHUNKS
    for found, expected in pairs:
        if kind == OWN:
            np.testing.assert_allclose(found, expected, **CLOSE)
        else:
            np.testing.assert_array_equal(found, expected)


def test_an_error_of_it_is_everyones(two_ranks: RankProcesses, checkpoint: Path, tmp_path: Path) -> None:
    errors = two_ranks.run(programs.ingest_short_sighted, checkpoint, str(tmp_path / "archive"))
    assert [(type(error), str(error)) for error in errors] == [(CheckpointError, "10 frames are too much")] * 2
    assert list(Archive.open(str(tmp_path / "archive")).manifests()) == []
