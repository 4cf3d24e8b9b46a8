"""Two ranks against one device: the same KVs, scores and answers, whoever makes and whoever reads them."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
import torch

from tests.archives import COMPRESSION
from tests.checkpoints import write_random_checkpoint
from tests.unit.answering.by_hand import flip_byte
from tests.unit.parallel import programs
from tests.unit.parallel.processes import RankProcesses, free_port
from videox2l.answering import ResidentVideo, ask
from videox2l.config import GenerationConfig, SelectionConfig
from videox2l.errors import ArchiveError, CheckpointError, ConfigError, ModelError, TruncatedVideoError
from videox2l.kv import KV, LEVELS, ChunkKV
from videox2l.kv.heads import head_ranges, join_heads
from videox2l.models import RelevanceHeads
from videox2l.models.video_xl.model import VideoXL
from videox2l.parallel import join_ranks
from videox2l.selection import SCORERS
from videox2l.store import Archive

# float32: the sums over ranks are added up in another order. Values reach about 10 here.
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def joined(outcomes: Sequence[tuple[KV, list[ChunkKV]]]) -> tuple[KV, list[ChunkKV]]:
    """All heads, of every rank's prompt and chunks."""
    prompts, chunks = zip(*outcomes, strict=True)
    return join_heads(prompts), [
        {level: join_heads([part[level] for part in parts]) for level in LEVELS} for parts in zip(*chunks, strict=True)
    ]


def assert_close(a: KV, b: KV) -> None:
    torch.testing.assert_close(a.keys_LHTD, b.keys_LHTD, **CLOSE)
    torch.testing.assert_close(a.values_LHTD, b.values_LHTD, **CLOSE)


def memory(prompt: KV, chunks: Sequence[ChunkKV], detailed: int) -> list[KV]:
    """The parts of a mix with one chunk in detail."""
    return [prompt, *(kvs["low" if index == detailed else "high"] for index, kvs in enumerate(chunks))]


@pytest.fixture(scope="module")
def whole(model: VideoXL) -> tuple[KV, list[ChunkKV]]:
    """A video's KVs as one device makes them."""
    return programs.prefill_with(model)


@pytest.fixture(scope="module")
def sharded(two_ranks: RankProcesses, checkpoint: Path) -> tuple[KV, list[ChunkKV]]:
    """The same video's KVs as two ranks make them, joined."""
    return joined(two_ranks.run(programs.prefill, checkpoint))


def test_each_rank_has_its_heads(two_ranks: RankProcesses, checkpoint: Path) -> None:
    first, second = two_ranks.run(programs.placement, checkpoint)
    assert first == (2, range(2), range(4))
    assert second == (2, range(2, 4), range(4, 8))


def test_kvs_of_both_levels(whole: tuple[KV, list[ChunkKV]], sharded: tuple[KV, list[ChunkKV]]) -> None:
    assert_close(sharded[0], whole[0])
    for ours, plain in zip(sharded[1], whole[1], strict=True):
        for level in LEVELS:
            assert_close(ours[level], plain[level])


def test_kvs_of_a_single_pass(two_ranks: RankProcesses, checkpoint: Path, model: VideoXL) -> None:
    expected = programs.prefill_with(model, programs.SINGLE_PASS)
    found = joined(two_ranks.run(programs.prefill_in_one_pass, checkpoint))
    for ours, plain in zip(found[1], expected[1], strict=True):
        for level in LEVELS:
            assert_close(ours[level], plain[level])


@pytest.mark.parametrize("made_by", ["one", "two"])
@pytest.mark.parametrize("answered_by", ["one", "two"])
def test_logits_and_greedy_tokens(two_ranks, checkpoint, model, whole, sharded, made_by: str, answered_by: str) -> None:
    expected_TV, tokens = programs.answer_with(model, memory(*whole, detailed=2))
    parts = memory(*(whole if made_by == "one" else sharded), detailed=2)
    if answered_by == "one":
        outcomes = [programs.answer_with(model, parts)]
    else:
        outcomes = two_ranks.run(programs.answer, checkpoint, parts)
    for logits_TV, greedy in outcomes:
        torch.testing.assert_close(logits_TV, expected_TV, **CLOSE)
        assert greedy == tokens
    # What a rank would pick next is a matter of bits.
    assert torch.equal(outcomes[0][0], outcomes[-1][0])


@pytest.mark.parametrize(
    "heads",
    [
        None,
        RelevanceHeads(((0, 1), (1, 6), (2, 3)), "mean", "mean"),
        RelevanceHeads(((1, 7), (2, 4)), "last", "max"),
    ],
    ids=["all", "of both ranks", "of rank 1"],
)
def test_relevance(two_ranks, checkpoint, model, whole, heads: RelevanceHeads | None) -> None:
    parts = [whole[0], *(kvs["high"] for kvs in whole[1])]
    expected = programs.scores_with(model, parts, heads)
    first, second = two_ranks.run(programs.scores, checkpoint, parts, heads)
    assert first == pytest.approx(expected, rel=1e-4)
    assert first == second


def test_scorers_that_would_take_the_wrong_heads_are_refused(two_ranks, checkpoint, whole) -> None:
    parts = [whole[0], *(kvs["high"] for kvs in whole[1])]
    for refused in two_ranks.run(programs.refused_scorers, checkpoint, parts):
        assert refused == SCORERS.keys() - {"attention", "random", "retriever"}


@pytest.fixture(scope="module")
def archives(two_ranks, checkpoint, model, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The same video, made by one device and by two ranks."""
    folder = tmp_path_factory.mktemp("archives")
    urls = {made_by: str(folder / made_by) for made_by in ("one", "two")}
    programs.ingest_with(model, urls["one"])
    assert two_ranks.run(programs.ingest, checkpoint, urls["two"]) == [None, None]
    return urls


def test_an_archive_knows_who_computed_it(archives) -> None:
    found = {made_by: Archive.open(url).open_index(programs.VIDEO.video_id) for made_by, url in archives.items()}
    assert {made_by: reader.manifest.head_ranges for made_by, reader in found.items()} == {
        "one": [head_ranges(4, 1)],
        "two": [head_ranges(4, 2)],
    }
    pictures = [[reader.thumbnail(chunk) for chunk in range(programs.CHUNKS)] for reader in found.values()]
    assert pictures[0] == pictures[1] and None not in pictures[0]


@pytest.mark.parametrize("made_by", ["one", "two"])
@pytest.mark.parametrize("select", ["attention", "all", "none", "1,3"])
def test_answers_from_an_archive(two_ranks, checkpoint, model, archives, made_by: str, select: str) -> None:
    selection, generation = SelectionConfig(select), GenerationConfig(max_new_tokens=12)
    reader = Archive.open(archives["one"]).open_index(programs.VIDEO.video_id)
    expected = ask(model, ResidentVideo(model, reader), programs.QUESTION, selection, generation)
    for answer in two_ranks.run(programs.ask, checkpoint, [archives[made_by]] * 2, selection):
        assert answer.text == expected.text
        assert [span.chunk for span in answer.spans] == [span.chunk for span in expected.spans]
        assert answer.scores == (None if expected.scores is None else pytest.approx(expected.scores, rel=1e-4))
        assert answer.receipt.bytes_used == expected.receipt.bytes_used


def test_a_prefill_goes_on_behind_what_one_device_has_stored(two_ranks, checkpoint, archives, whole, tmp_path) -> None:
    shutil.copytree(archives["one"], tmp_path / "extended")
    url = str(tmp_path / "extended")
    assert two_ranks.run(programs.resume, checkpoint, url, 2) == [None, None]
    reader = Archive.open(url).open_index(programs.VIDEO.video_id)
    assert reader.manifest.head_ranges == [head_ranges(4, 1), head_ranges(4, 2)]
    for index, (plain, high) in enumerate(zip(whole[1], reader.high(), strict=True)):
        assert_close(high, plain["high"])
        assert_close(reader.low(index), plain["low"])


def test_who_is_told_to_stop_stops_all(two_ranks, checkpoint, tmp_path: Path) -> None:
    errors = two_ranks.run(programs.stopped, checkpoint, str(tmp_path / "archive"))
    assert [(type(error), str(error)) for error in errors] == [(programs.StopError, "2 of 4")] * 2
    assert list(Archive.open(str(tmp_path / "archive")).manifests()) == []


def test_one_device_answers_from_what_two_ranks_wrote(model, archives) -> None:
    selection, generation = SelectionConfig("attention"), GenerationConfig(max_new_tokens=12)
    texts = []
    for url in archives.values():
        video = ResidentVideo(model, Archive.open(url).open_index(programs.VIDEO.video_id))
        texts.append(ask(model, video, programs.QUESTION, selection, generation).text)
    assert texts[0] == texts[1]


def test_sampling_without_a_seed_is_the_same_on_all_ranks(two_ranks, checkpoint, archives) -> None:
    generation = GenerationConfig(max_new_tokens=24, temperature=1.5)
    first, second = two_ranks.run(programs.ask, checkpoint, [archives["one"]] * 2, None, generation)
    assert first.text == second.text


def test_a_chunk_that_one_rank_cannot_read_is_degraded_on_all(two_ranks, checkpoint, archives, tmp_path: Path) -> None:
    shutil.copytree(archives["one"], tmp_path / "damaged")
    damaged = Archive.open(str(tmp_path / "damaged"))
    manifest = damaged.open_index(programs.VIDEO.video_id).manifest
    flip_byte(damaged, manifest, manifest.chunks[2].levels["low"])
    answers = two_ranks.run(programs.ask, checkpoint, [archives["one"], damaged.url], SelectionConfig("1,2"))
    for answer in answers:
        assert [span.chunk for span in answer.spans] == [1]
        assert [span.chunk for span in answer.degraded] == [2]
    assert answers[0].text == answers[1].text


def test_high_kvs_that_one_rank_cannot_read_are_an_error_on_all(two_ranks, checkpoint, archives, tmp_path) -> None:
    shutil.copytree(archives["one"], tmp_path / "damaged")
    damaged = Archive.open(str(tmp_path / "damaged"))
    manifest = damaged.open_index(programs.VIDEO.video_id).manifest
    flip_byte(damaged, manifest, manifest.chunks[2].levels["high"])
    errors = two_ranks.run(programs.ask, checkpoint, [archives["one"], damaged.url])
    assert [type(error).__name__ for error in errors] == ["CorruptDataError"] * 2
    assert str(errors[0]) == str(errors[1])


def test_ranks_that_open_different_indexes(two_ranks, checkpoint, archives) -> None:
    errors = two_ranks.run(programs.ask, checkpoint, [archives["one"], archives["two"]])
    assert [type(error) for error in errors] == [ArchiveError] * 2
    assert "open it again" in str(errors[0])


def test_a_video_that_does_not_decode_leaves_nothing_behind(two_ranks, checkpoint, tmp_path: Path) -> None:
    errors = two_ranks.run(programs.ingest, checkpoint, str(tmp_path / "archive"), True)
    assert [type(error) for error in errors] == [TruncatedVideoError] * 2
    assert list(Archive.open(str(tmp_path / "archive")).manifests()) == []


@pytest.mark.parametrize("kind", ["lead", "together"])
def test_errors_of_one_rank_are_everyones(two_ranks: RankProcesses, kind: str) -> None:
    errors = two_ranks.run(programs.fail, kind, TruncatedVideoError("it ends"))
    assert [(type(error), str(error)) for error in errors] == [(TruncatedVideoError, "it ends")] * 2
    # One that cannot travel arrives as its words.
    for error in two_ranks.run(programs.fail, kind, None):
        assert isinstance(error, ModelError)
        assert str(error) == "StubbornError: 7: out of order"


def test_results_that_cannot_travel(two_ranks: RankProcesses) -> None:
    for error in two_ranks.run(programs.fail, "result", None):
        assert isinstance(error, ModelError)
        assert "cannot pickle 'generator' object" in str(error)


def test_half_precision(two_ranks, checkpoint, model, whole) -> None:
    first, second = two_ranks.run(programs.frequencies, checkpoint, "bfloat16")
    assert torch.equal(first, model.decoder.model.rotary_emb.inv_freq)
    assert torch.equal(first, second)
    prompt, _ = joined(two_ranks.run(programs.prefill, checkpoint, "bfloat16"))
    assert prompt.keys_LHTD.dtype == torch.bfloat16
    # 8 bits of mantissa, over three layers.
    torch.testing.assert_close(prompt.keys_LHTD.float(), whole[0].keys_LHTD, atol=0.3, rtol=0.05)


def test_output_weights_that_are_the_embeddings(two_ranks, tmp_path: Path) -> None:
    tied = write_random_checkpoint(tmp_path / "tied", tie_word_embeddings=True)
    plain = programs.load(tied)
    parts = memory(*programs.prefill_with(plain), detailed=1)
    expected_TV, tokens = programs.answer_with(plain, parts)
    for logits_TV, greedy in two_ranks.run(programs.answer, tied, parts):
        torch.testing.assert_close(logits_TV, expected_TV, **CLOSE)
        assert greedy == tokens


def test_heads_that_cannot_be_shared_out(two_ranks, tmp_path: Path) -> None:
    odd = write_random_checkpoint(tmp_path / "odd", hidden=24, num_attention_heads=3, num_key_value_heads=3)
    errors = two_ranks.run(programs.placement, odd)
    assert [type(error) for error in errors] == [ConfigError] * 2
    assert str(errors[0]) == "3 KV heads cannot be shared out evenly over 2 ranks: use 1 or 3"


def test_ranks_with_different_checkpoints(two_ranks, tmp_path: Path) -> None:
    """As where a folder of the same name holds something else on another machine."""
    for rank in (0, 1):
        folder = write_random_checkpoint(tmp_path / str(rank), seed=rank)
        two_ranks.send(rank, programs.placement, folder)
    errors = [two_ranks.answer(rank) for rank in (0, 1)]
    assert [type(error) for error in errors] == [CheckpointError] * 2
    assert "not the same model on all ranks" in str(errors[0])


@pytest.mark.parametrize(
    ("rank", "address", "words"),
    [
        (2, "", "there is no rank 2 of 2"),
        (0, "", "need an address to meet at"),
        (1, "somewhere", "rank 1 of 2 did not meet the others at 'somewhere'"),
        (1, "127.0.0.1:{port}", "rank 1 of 2 did not meet the others at '127.0.0.1:"),
        (0, "127.0.0.1:{port}", "rank 0 of 2 did not meet the others at '127.0.0.1:"),
    ],
)
def test_ranks_that_do_not_meet(monkeypatch: pytest.MonkeyPatch, rank: int, address: str, words: str) -> None:
    monkeypatch.setattr("videox2l.parallel.ranks._MEETING", timedelta(seconds=1))
    with pytest.raises(ConfigError, match=words):
        join_ranks(rank, 2, address=address.format(port=free_port()))


def test_a_killed_rank_ends_the_wait_of_the_other() -> None:
    processes = RankProcesses(2)
    try:
        assert processes.run(programs.wait_for_the_other) == [None, None]
        processes.send(0, programs.wait_for_the_other)
        processes.kill(1)
        error = processes.answer(0)
        assert isinstance(error, RuntimeError)
        assert "remote worker" in str(error)
    finally:
        processes.close()


def test_one_rank_needs_no_other(checkpoint, model, whole) -> None:
    single = programs.share(checkpoint, programs.Ranks(0, 1, torch.device("cpu")))
    prompt, chunks = programs.prefill_with(single)
    assert torch.equal(prompt.keys_LHTD, whole[0].keys_LHTD)
    assert all(torch.equal(a["low"].values_LHTD, b["low"].values_LHTD) for a, b in zip(chunks, whole[1], strict=True))
    assert dataclasses.asdict(single.geometry) == dataclasses.asdict(model.geometry)


def test_weights_of_a_rank_are_those_that_are_foreseen(two_ranks, checkpoint, model) -> None:
    foreseen = dataclasses.replace(model.workload(COMPRESSION, 1), ranks=2).weight_bytes()
    first, second = two_ranks.run(programs.weight_bytes, checkpoint)
    assert second < first <= foreseen
    assert first > 0.95 * foreseen
