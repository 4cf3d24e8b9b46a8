"""Equal things get equal identities, different things different ones, and differences can be read."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from videox2l.errors import UnreadableVideoError
from videox2l.identity import describe_difference, fingerprint, hash_file, source_url, video_identity
from videox2l.store import Archive


def test_fingerprint_ignores_notation() -> None:
    a = {"b": 1, "a": [1.0, None, True], "c": {"x": "é", "y": -0.0}}
    b = {"c": {"y": 0, "x": "é"}, "a": (1, None, True), "b": 1.0}
    assert fingerprint(a) == fingerprint(b)
    assert len(fingerprint(a)) == 32


@pytest.mark.parametrize("other", [{"a": True}, {"a": "1"}, {"a": 1.5}, {"a": [1]}, {"a": None}, {"b": 1}, {}])
def test_fingerprint_tells_values_apart(other: dict[str, object]) -> None:
    assert fingerprint(other) != fingerprint({"a": 1})


def test_fingerprint_is_stable() -> None:
    # Stored in archives: a change here makes every archive a miss.
    assert fingerprint({"fps": 1.0, "name": "ü", "list": [1, 2.5]}) == "ec0a966d8195ca365bdd614d1e903a07"


@pytest.mark.parametrize("bad", [{"a": float("nan")}, {"a": float("inf")}])
def test_fingerprint_refuses_endless_numbers(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        fingerprint(bad)


@pytest.mark.parametrize("bad", [{1: "a"}, {"a": {2}}, {"a": b"x"}, {"a": Path("x")}])
def test_fingerprint_refuses_what_json_lacks(bad: dict) -> None:
    with pytest.raises(TypeError):
        fingerprint(bad)


@given(st.binary(max_size=200))
def test_hash_of_stream(data: bytes) -> None:
    assert hash_file(io.BytesIO(data)) == (hashlib.sha256(data).hexdigest(), len(data))


def test_video_identity(tmp_path: Path) -> None:
    path = tmp_path / "a video.mp4"
    path.write_bytes(b"frames" * 1000)
    identity = video_identity(path)
    assert identity.sha256 == hashlib.sha256(b"frames" * 1000).hexdigest()
    assert identity.video_id == identity.sha256[:32]
    assert (identity.name, identity.source, identity.size) == ("a video.mp4", str(path), 6000)
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(path.read_bytes())
    assert video_identity(copy).video_id == identity.video_id
    copy.write_bytes(b"framez" * 1000)
    assert video_identity(copy).video_id != identity.video_id


def test_video_identity_of_url() -> None:
    fsspec.filesystem("memory").pipe_file("/clips/a.mp4", b"abc")
    identity = video_identity("memory://clips/a.mp4")
    assert (identity.name, identity.source, identity.size) == ("a.mp4", "memory://clips/a.mp4", 3)


def test_a_name_that_fsspec_would_take_for_two(tmp_path: Path) -> None:
    (tmp_path / "lecture").write_bytes(b"another")
    path = tmp_path / "lecture::2.mp4"
    path.write_bytes(b"abc")
    assert video_identity(path).size == 3
    assert hash_file(str(path))[1] == 3


def test_a_name_that_is_not_unicode(tmp_path: Path) -> None:
    path = tmp_path / "caf\udce9.mp4"  # as an archive from a system with another encoding leaves it
    path.write_bytes(b"abc")
    with pytest.raises(UnreadableVideoError, match="not valid UTF-8"):
        Archive.open(tmp_path / "archive", create=True).identify(path)


def test_unusable_videos(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    for path, reason in (
        (tmp_path / "none.mp4", "no such file"),
        (tmp_path, "folder"),
        (tmp_path / "empty.mp4", "empty"),
    ):
        with pytest.raises(UnreadableVideoError, match=reason) as caught:
            video_identity(path)
        assert str(path) in str(caught.value)
    with pytest.raises(UnreadableVideoError, match="cannot be read"):
        video_identity("nosuchprotocol://a/b.mp4")


def test_source_url_keeps_no_secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert source_url("https://user:secret@host:8080/a/b.mp4?signature=x#t") == "https://host:8080/a/b.mp4"
    assert source_url("s3://bucket/a.mp4") == "s3://bucket/a.mp4"
    monkeypatch.chdir(tmp_path)
    assert source_url("a.mp4") == str(tmp_path / "a.mp4")
    assert source_url(f"file://{tmp_path}/a.mp4") == str(tmp_path / "a.mp4")


def test_a_home_that_nobody_has_is_a_name() -> None:
    assert source_url("~no-such-user/clip.mp4") == str(Path("~no-such-user/clip.mp4").absolute())


def test_describe_difference() -> None:
    a = {"model": {"name": "x", "size": 7}, "fps": 1.0, "old": [1]}
    b = {"model": {"name": "y", "size": 7}, "fps": 1, "new": {"k": 1}}
    assert describe_difference(a, b).splitlines() == [
        "model.name: stored x, asked for y",
        'new: stored nothing, asked for {"k": 1}',
        "old: stored [1], asked for nothing",
    ]
    assert describe_difference(a, a) == ""
    assert describe_difference({"a": 1}, {"a": 2}, labels=("here", "there")) == "a: here 1, there 2"
    assert describe_difference({"a": 1}, {"a": True}) == "a: stored 1, asked for true"
