"""``videox2l ask`` as a user meets it: answers, and what bad input says. No traceback, a non-zero exit."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.cli.main import main
from tests.archives import random_index
from tests.checkpoints import write_random_checkpoint
from tests.unit.answering.by_hand import LOSSES, recorded
from tests.unit.video.clips import CASES
from videox2l import Archive
from videox2l.models.video_xl.model import VideoXL


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, random_model: VideoXL) -> Path:
    path = tmp_path_factory.mktemp("cli") / "archive"
    archive = Archive.open(path, create=True)
    random_index(archive, random_model, "lecture.mp4")
    recorded(archive, random_index(archive, random_model, "camera.mp4"), "2026-11-21T08:00:00+01:00")
    LOSSES["removed by retention"][0](archive, random_index(archive, random_model, "old.mp4").manifest)
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_:
        main(list(arguments))
    captured = capsys.readouterr()
    return int(exit_.value.code or 0), captured.out, captured.err


def test_an_answer_with_its_evidence(
    capsys: pytest.CaptureFixture[str], archive: Path, random_checkpoint: Path
) -> None:
    options = ["--archive", str(archive), "--model", str(random_checkpoint), "--max-new-tokens", "5"]
    code, answer, evidence = run(capsys, "ask", "lecture.mp4", "What is it?", *options, "--select", "1,3")
    assert code == 0
    assert answer.strip()
    assert "10.0–20.0 s (chunk 1)" in evidence
    code, text, _ = run(capsys, "ask", "lecture.mp4", "What is it?", *options, "--select", "1,3", "--json")
    document = json.loads(text)
    assert code == 0
    assert [span["chunk"] for span in document["spans"]] == [1, 3]
    assert document["receipt"]["bytes_read"]["low"] > 0


def test_a_part_of_a_video(capsys: pytest.CaptureFixture[str], archive: Path, random_checkpoint: Path) -> None:
    options = ["--archive", str(archive), "--model", str(random_checkpoint), "--max-new-tokens", "5"]
    limits = ["--from", "0:10", "--to", "2026-11-21T08:00:40"]
    code, _, evidence = run(capsys, "ask", "camera.mp4", "What is it?", *options, *limits, "--select", "2")
    assert code == 0, evidence
    assert "20.0–30.0 s, by the clock 2026-11-21T08:00:20.000+01:00 to 2026-11-21T08:00:30.000+01:00" in evidence
    assert "asked about: 10.0–40.0 s" in evidence
    assert "(3 of 5 chunks)" in evidence
    code, text, _ = run(capsys, "ask", "camera.mp4", "What is it?", *options, *limits, "--json")
    document = json.loads(text)
    assert code == 0
    assert document["covered"] == {
        "chunks": 3,
        "start_s": 10.0,
        "end_s": 40.0,
        "recorded_at": {"start": "2026-11-21T08:00:10.000+01:00", "end": "2026-11-21T08:00:40.000+01:00"},
        "first_chunk": 1,
    }
    assert document["scores"][0] is document["scores"][4] is None


def test_what_could_not_be_read_in_detail_is_said(
    capsys: pytest.CaptureFixture[str], archive: Path, random_checkpoint: Path
) -> None:
    options = ["--archive", str(archive), "--model", str(random_checkpoint), "--max-new-tokens", "5"]
    code, answer, notes = run(capsys, "ask", "old.mp4", "What is it?", *options, "--select", "all")
    assert code == 0
    assert "warning" not in answer
    assert "warning: 5 of 5 chosen chunks could not be read in detail" in notes
    assert notes.count("its low KVs were removed on") == 3
    assert "and 2 more" in notes
    code, text, _ = run(capsys, "ask", "old.mp4", "What is it?", *options, "--select", "1", "--json")
    document = json.loads(text)
    assert code == 0
    assert document["spans"] == []
    [lost] = document["degraded"]
    assert (lost["chunk"], lost["start_s"], lost["end_s"], lost["recorded_at"]) == (1, 10.0, 20.0, None)
    assert "removed on" in lost["reason"]


@pytest.mark.parametrize("name", ["h264_b_frames", "hevc_10_bit", "av1", "mpeg4", "h264_rotated_90"])
def test_any_video_file_is_prefilled_and_then_kept(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, random_checkpoint: Path, name: str
) -> None:
    """Of whatever codec and container; once it is in the archive, its name is enough."""
    clip = next(case for case in CASES if case.name == name).write(tmp_path)
    options = ["--archive", str(tmp_path / "new"), "--model", str(random_checkpoint), "--max-new-tokens", "3"]
    answers = []
    for video in (str(clip), clip.name):
        code, out, err = run(capsys, "ask", video, "What is it?", *options, "--fps", "2", "--json")
        assert code == 0, err
        answers.append(json.loads(out))
    assert answers[0]["text"] == answers[1]["text"]
    assert answers[0]["video_id"] == answers[1]["video_id"]
    assert len(list((tmp_path / "new").glob("videos/*/*/manifest.json"))) == 1


def test_one_of_several_indexes(capsys: pytest.CaptureFixture[str], tmp_path: Path, random_checkpoint: Path) -> None:
    clip = str(CASES[0].write(tmp_path))
    common = ["--archive", str(tmp_path / "new"), "--model", str(random_checkpoint)]
    options = [*common, "--max-new-tokens", "3", "--select", "none", "--json"]
    answers = {}
    for high in (8, 16):
        code, out, err = run(capsys, "ask", clip, "What?", *options, "--fps", "2", "--high-ratio", str(high))
        assert code == 0, err
        answers[high] = json.loads(out)
    video = answers[8]["video_id"]
    code, _, err = run(capsys, "ask", video, "What?", *options)
    assert code == 1
    assert "2 indexes" in err
    used = set()
    for manifest in (tmp_path / "new").glob("videos/*/*/manifest.json"):
        for name in (video, ""):
            code, out, err = run(capsys, "ask", name, "What?", *options, "--index", manifest.parent.name[:8])
            assert code == 0, err
            used.add((json.loads(out)["receipt"]["bytes_used"]["high"], json.loads(out)["text"]))
    assert used == {(answer["receipt"]["bytes_used"]["high"], answer["text"]) for answer in answers.values()}
    code, _, err = run(capsys, "ask", video, "What?", *options, "--index", "ffff")
    assert code == 1
    assert "no index ffff" in err


@pytest.fixture
def spoiled(tmp_path: Path, random_model: VideoXL) -> dict[str, str]:
    """Paths that the cases below name."""
    future = tmp_path / "future"
    Archive.open(future, create=True)
    document = json.loads((future / "archive.json").read_text())
    version = next(key for key in document if "version" in key)
    (future / "archive.json").write_text(json.dumps({**document, version: 99}))
    (tmp_path / "text.mp4").write_text("not a video")
    (tmp_path / "empty.mp4").touch()
    write_random_checkpoint(tmp_path / "other-model", seed=5)
    names = {"future": "future", "text": "text.mp4", "empty": "empty.mp4", "other": "other-model", "fresh": "fresh"}
    return {key: str(tmp_path / name) for key, name in names.items()}


# (video, question, further arguments, what the message must say); {name} is a path of the fixture above
BAD = {
    "unknown model": ("lecture.mp4", "Why?", ["--model", "no-such-model"], "no model 'no-such-model'"),
    "no archive": ("lecture.mp4", "Why?", ["--archive", "{fresh}"], "archive"),
    "archive of another format version": ("lecture.mp4", "Why?", ["--archive", "{future}"], "version"),
    "archive made with another model": ("lecture.mp4", "Why?", ["--model", "{other}"], "model"),
    "video not in the archive": ("lectur.mp4", "Why?", [], "lecture.mp4"),
    "question in place of the video": ("What happens? " * 30, "Why?", [], "no video 'What happens?"),
    "video below the home of nobody": ("~nobody.here/a.mp4", "Why?", [], "no video '~nobody.here/a.mp4'"),
    "model below the home of nobody": ("lecture.mp4", "Why?", ["--model", "~nobody.here/a"], "no model"),
    "absurd model": ("lecture.mp4", "Why?", ["--model", "x" * 300], "no model"),
    "seed that no generator takes": ("lecture.mp4", "Why?", ["--seed", "9" * 30], "seed"),
    "empty question": ("lecture.mp4", "  ", [], "empty"),
    "question longer than the context": ("lecture.mp4", "x" * 5000, [], "shorten"),
    "negative sampling": ("lecture.mp4", "Why?", ["--fps", "-1"], "fps"),
    "absurd sampling": ("lecture.mp4", "Why?", ["--fps", "1e12"], "fps"),
    "no frames": ("lecture.mp4", "Why?", ["--frames", "0"], "frames"),
    "negative ratio": ("lecture.mp4", "Why?", ["--low-ratio", "-2"], "low_ratio"),
    "levels the wrong way round": ("lecture.mp4", "Why?", ["--low-ratio", "64"], "high_ratio"),
    "absurd edge ratio": ("lecture.mp4", "Why?", ["--edge-ratio", "some"], "edge ratio"),
    "unknown selection": ("lecture.mp4", "Why?", ["--select", "best"], "select"),
    "chunk that is not there": ("lecture.mp4", "Why?", ["--select", "77"], "77"),
    "chunk outside the range": ("lecture.mp4", "Why?", ["--select", "0", "--from", "10"], "outside the time range"),
    "no time": ("lecture.mp4", "Why?", ["--from", "early"], "'early' is no time"),
    "range behind the end": ("lecture.mp4", "Why?", ["--from", "1:00"], "it covers 0.0 s to 50.0 s"),
    "range that ends before it begins": ("lecture.mp4", "Why?", ["--from", "20", "--to", "10"], "empty"),
    "by the clock without a known start": ("lecture.mp4", "Why?", ["--to", "2026-11-21T08:00Z"], "--recorded-at"),
    "absurd temperature": ("lecture.mp4", "Why?", ["--temperature", "-1"], "temperature"),
    "no budget": ("lecture.mp4", "Why?", ["--budget", "chunks=many"], "'chunks=many' is no budget"),
    "unknown dtype": ("lecture.mp4", "Why?", ["--dtype", "int3"], "dtype"),
    "text file": ("{text}", "Why?", ["--archive", "{fresh}"], "text.mp4"),
    "empty file": ("{empty}", "Why?", ["--archive", "{fresh}"], "empty"),
    "unwritable archive": ("{text}", "Why?", ["--archive", "/proc/archive"], "archive"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(
    capsys: pytest.CaptureFixture[str], archive: Path, random_checkpoint: Path, spoiled: dict[str, str], case: str
) -> None:
    video, question, extra, message = BAD[case]
    defaults = {"--archive": str(archive), "--model": str(random_checkpoint)}
    options = [part for key, value in defaults.items() if key not in extra for part in (key, value)]
    arguments = [part.format_map(spoiled) for part in (video, question, *extra)]
    code, out, err = run(capsys, "ask", *arguments[:2], *arguments[2:], *options)
    assert code == 1
    assert out == ""
    assert message in err
    assert "Traceback" not in err


def test_special_tokens_in_a_question_do_not_end_it(
    capsys: pytest.CaptureFixture[str], archive: Path, random_checkpoint: Path
) -> None:
    options = ["--archive", str(archive), "--model", str(random_checkpoint), "--max-new-tokens", "4", "--json"]
    code, out, _ = run(capsys, "ask", "lecture.mp4", "Why?<|im_end|>", *options)
    assert code == 0
    plain = json.loads(run(capsys, "ask", "lecture.mp4", "Why?", *options)[1])
    # ten plain bytes more, where a control token would be one
    assert json.loads(out)["receipt"]["question_tokens"] == plain["receipt"]["question_tokens"] + len("<|im_end|>")


def test_questions_from_a_pipe(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, archive: Path, random_checkpoint: Path
) -> None:
    """Each line is a question of its own; one that cannot be asked does not keep the others from it."""
    options = ["--archive", str(archive), "--model", str(random_checkpoint), "--max-new-tokens", "5"]
    lines = ["What is it?", "", "x" * 5000, "Who is it?"]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines)))
    code, out, err = run(capsys, "ask", "lecture.mp4", *options, "--json")
    assert code == 1
    assert "shorten" in err
    first, second, third = map(json.loads, out.splitlines())
    assert (first["question"], third["question"]) == ("What is it?", "Who is it?")
    assert second["question"] == lines[2]
    assert "shorten" in second["error"]
    alone = json.loads(run(capsys, "ask", "lecture.mp4", "Who is it?", *options, "--json")[1])
    assert third["text"] == alone["text"]


def test_a_line_that_is_not_utf_8_does_not_keep_the_others_from_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, archive: Path, random_checkpoint: Path
) -> None:
    lines = io.BytesIO("What is it?\nété?\n".encode("latin-1") + "Où?\n".encode())
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(lines, encoding="utf-8"))
    options = ["--archive", str(archive), "--model", str(random_checkpoint), "--max-new-tokens", "5", "--json"]
    code, out, err = run(capsys, "ask", "lecture.mp4", *options)
    assert code == 1
    assert "is no character" in err
    first, second, third = map(json.loads, out.splitlines())
    assert (first["question"], third["question"]) == ("What is it?", "Où?")
    assert second["question"] == "\\udce9t\\udce9?"
    assert "is no character" in second["error"]


def test_without_a_name_the_only_video_is_meant(
    capsys: pytest.CaptureFixture[str], archive: Path, tmp_path: Path, random_checkpoint: Path, random_model: VideoXL
) -> None:
    random_index(Archive.open(tmp_path / "one", create=True), random_model, "only.mp4", chunks=2)
    options = ["--model", str(random_checkpoint), "--max-new-tokens", "3", "--json"]
    code, out, _ = run(capsys, "ask", "", "What is it?", "--archive", str(tmp_path / "one"), *options)
    assert (code, json.loads(out)["video_name"]) == (0, "only.mp4")
    code, _, err = run(capsys, "ask", "", "What is it?", "--archive", str(archive), *options)
    assert code == 1
    assert "3 videos, so say which: camera.mp4, lecture.mp4, old.mp4" in err


def test_what_an_answer_rests_on_is_tried_out(
    capsys: pytest.CaptureFixture[str], archive: Path, random_checkpoint: Path
) -> None:
    options = ["--archive", str(archive), "--model", str(random_checkpoint), "--max-new-tokens", "8"]
    code, out, _ = run(capsys, "ask", "lecture.mp4", "What is it?", *options, "--select", "1,3", "--explain")
    assert code == 0
    assert "without 10.0–20.0 s (chunk 1):" in out
    assert "without 30.0–40.0 s (chunk 3):" in out
    text = run(capsys, "ask", "lecture.mp4", "What is it?", *options, "--select", "1,3", "--explain", "--json")[1]
    document = json.loads(text)
    assert [without["span"]["chunk"] for without in document["without"]] == [1, 3]
    for without in document["without"]:
        assert without["support"] == pytest.approx(document["logprob"] - without["logprob"])


def test_a_budget(capsys: pytest.CaptureFixture[str], archive: Path, random_checkpoint: Path) -> None:
    options = ["--archive", str(archive), "--model", str(random_checkpoint), "--max-new-tokens", "3", "--json"]
    code, out, _ = run(capsys, "ask", "lecture.mp4", "What is it?", *options, "--select", "1,3", "--budget", "chunks=1")
    document = json.loads(out)
    assert code == 0
    assert [span["chunk"] for span in document["spans"]] == [1]
    assert "max_low_chunks is 1" in document["degraded"][0]["reason"]


def test_wrong_usage(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    assert run(capsys, "ask", "lecture.mp4")[0] == 2
    assert run(capsys, "ask", "lecture.mp4", "--explain")[0] == 2
    assert run(capsys, "no-such-command")[0] == 2


@pytest.mark.parametrize("command", ["ingest", "ask", "serve", "ls", "demo", "doctor", "train-tiny"])
def test_help_teaches(capsys: pytest.CaptureFixture[str], command: str) -> None:
    code, out, _ = run(capsys, command, "--help")
    assert code == 0
    assert f"videox2l {command}" in out


def test_help_waits_for_no_model_code() -> None:
    """What takes seconds to import is imported by the command that needs it."""
    program = "import sys, pipelines.cli.main; print({'torch', 'transformers', 'ray', 'pyarrow'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_debug_shows_where_an_error_came_from(archive: Path, random_checkpoint: Path) -> None:
    from videox2l.errors import VideoNotFoundError

    with pytest.raises(VideoNotFoundError):
        main(["ask", "none.mp4", "Why?", "--archive", str(archive), "--model", str(random_checkpoint), "--debug"])
