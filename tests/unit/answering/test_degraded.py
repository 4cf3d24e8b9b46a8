"""Low KVs that cannot be had: the answer rests on the gist and says so. Anything else missing is an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.archives import random_index
from tests.unit.answering.by_hand import LOSSES, assert_equal, flip_byte, mixed
from videox2l import Archive, GenerationConfig, ResidentVideo, SelectionConfig, ask
from videox2l.answering import TimeRange
from videox2l.answering.costs import Costs
from videox2l.answering.dialogue import tokenize
from videox2l.answering.memory import build_memory
from videox2l.errors import CorruptDataError
from videox2l.kv import Level
from videox2l.models.video_xl.model import VideoXL
from videox2l.store import IndexReader

QUESTION = "What happens after the second scene?"
SHORT = GenerationConfig(max_new_tokens=12)


def damaged(archive: Archive, model: VideoXL, how: str) -> tuple[IndexReader, set[int]]:
    """A video of five chunks and those of them that have no low KVs any more."""
    manifest = random_index(archive, model).manifest
    lost = LOSSES[how][0](archive, manifest)
    return archive.open_index(manifest.video.video_id), lost


@pytest.mark.parametrize("select", ["1,3", "all"])
@pytest.mark.parametrize("how", LOSSES)
def test_what_has_no_low_kvs_is_answered_from_its_gist(
    archive: Archive, random_model: VideoXL, how: str, select: str
) -> None:
    intact = random_index(archive, random_model, "intact.mp4")  # the same frames under another name
    reader, lost = damaged(archive, random_model, how)
    video, selection = ResidentVideo(random_model, reader), SelectionConfig(select)
    answer = ask(random_model, video, QUESTION, selection, SHORT)
    chosen = {1, 3} if select == "1,3" else set(range(5))
    levels: dict[int, Level] = {chunk: "low" if chunk in chosen - lost else "high" for chunk in range(5)}
    assert [span.chunk for span in answer.spans] == sorted(chosen - lost)
    assert [(span.chunk, span.start_s, span.end_s) for span in answer.degraded] == [
        (chunk, chunk * 10.0, chunk * 10.0 + 10) for chunk in sorted(chosen & lost)
    ]
    assert all(LOSSES[how][1] in span.reason for span in answer.degraded)
    used = {"prompt": intact.manifest.prompt.length, "high": 0, "low": 0}
    for chunk, level in levels.items():
        used[level] += intact.manifest.chunks[chunk].levels[level].length
    assert answer.receipt.bytes_used == answer.receipt.bytes_read == used

    dialogue = tokenize(random_model, QUESTION)
    memory = build_memory(random_model, video, dialogue, selection, range(5), Costs())
    assert_equal(memory.mixed, mixed(random_model, intact, levels))


def test_a_scorer_still_says_where_to_look(archive: Archive, random_model: VideoXL) -> None:
    reader, _ = damaged(archive, random_model, "removed by retention")
    video = ResidentVideo(random_model, reader)
    answer = ask(random_model, video, QUESTION, SelectionConfig("attention", top_k=2), SHORT)
    assert answer.scores is not None
    assert answer.spans == ()
    assert [span.chunk for span in answer.degraded] == sorted(
        sorted(range(5), key=lambda chunk: answer.scores[chunk], reverse=True)[:2]
    )
    gist = ask(random_model, video, QUESTION, SelectionConfig("none"), SHORT)
    assert (answer.text, answer.receipt.bytes_used) == (gist.text, gist.receipt.bytes_used)
    assert gist.degraded == ()


def test_damage_outside_a_time_range_is_not_noticed(archive: Archive, random_model: VideoXL) -> None:
    reader, _ = damaged(archive, random_model, "a byte changed")
    video = ResidentVideo(random_model, reader)
    answer = ask(random_model, video, QUESTION, SelectionConfig("all"), SHORT, TimeRange(0, 30))
    assert [span.chunk for span in answer.spans] == [0, 1, 2]
    assert answer.degraded == ()


@pytest.mark.parametrize("select", ["attention", "none", "1"])
@pytest.mark.parametrize("part", ["prompt", "high", "manifest"])
def test_anything_else_damaged_is_never_answered_from(
    archive: Archive, random_model: VideoXL, part: str, select: str
) -> None:
    manifest = random_index(archive, random_model).manifest
    if part == "manifest":
        path = Path(archive.url) / manifest.path
        path.write_bytes(path.read_bytes().replace(b'"start_s"', b'"start_z"', 1))
    else:
        flip_byte(archive, manifest, manifest.prompt if part == "prompt" else manifest.chunks[2].levels["high"])
    with pytest.raises(CorruptDataError):
        video = ResidentVideo(random_model, archive.open_index(manifest.video.video_id))
        ask(random_model, video, QUESTION, SelectionConfig(select), SHORT)


def test_a_chunk_without_any_good_kvs_is_an_error(archive: Archive, random_model: VideoXL) -> None:
    reader, _ = damaged(archive, random_model, "a byte changed")
    flip_byte(archive, reader.manifest, reader.manifest.chunks[3].levels["high"])
    with pytest.raises(CorruptDataError):
        ask(random_model, ResidentVideo(random_model, reader), QUESTION, SelectionConfig("3"), SHORT)
