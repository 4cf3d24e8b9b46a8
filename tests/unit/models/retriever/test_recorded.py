"""The retriever that an index names is found again, or it is said why not: loaded, and without loading its weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.retriever_checkpoints import KINDS, write_retriever
from videox2l.errors import CheckpointError, FingerprintMismatchError, UnknownModelError
from videox2l.identity import RetrieverIdentity
from videox2l.models.retriever import OWN, check_recorded, load_recorded, load_retriever
from videox2l.models.video_xl.model import VideoXL

Find = Callable[[RetrieverIdentity, VideoXL], object]

FIND: dict[str, Find] = {
    "load": load_recorded,
    "check": lambda recorded, model: check_recorded(recorded, model.identity.fingerprint),
}


@pytest.mark.parametrize("how", FIND)
@pytest.mark.parametrize("kind", [OWN, *KINDS])
def test_the_very_retriever_only(tmp_path: Path, random_model: VideoXL, kind: str, how: str) -> None:
    name = kind if kind == OWN else str(write_retriever(tmp_path / kind, kind))
    recorded = load_retriever(name, random_model).identity
    FIND[how](recorded, random_model)
    with pytest.raises(FingerprintMismatchError, match="other weights or settings"):
        FIND[how](dataclasses.replace(recorded, fingerprint="0" * 32), random_model)


@pytest.mark.parametrize("how", FIND)
@pytest.mark.parametrize("name", ["/no/such/folder", "somebody/clip"])
def test_what_is_not_here_is_not_fetched(random_model: VideoXL, name: str, how: str) -> None:
    with pytest.raises(UnknownModelError, match=f"the retriever {name}.* is not here"):
        FIND[how](RetrieverIdentity(name, "0" * 32, 16), random_model)


@pytest.mark.parametrize("how", FIND)
def test_a_folder_that_holds_something_else(tmp_path: Path, random_model: VideoXL, how: str) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(CheckpointError, match="no retriever"):
        FIND[how](RetrieverIdentity(str(tmp_path), "0" * 32, 16), random_model)
