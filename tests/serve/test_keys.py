"""The key file and the command that manages it."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipelines.serve.keys import KeyFile, change_keys, digest, find_key, new_key, read_keys
from tests.cli.commands import run
from videox2l.errors import ConfigError

Output = pytest.CaptureFixture[str]


def add(capsys: Output, file: Path, name: str, *options: str) -> str:
    status, text, _ = run(capsys, "keys", "add", name, "--file", file, *options)
    assert status == 0
    return text.strip()


def test_a_key_is_printed_once_and_kept_as_its_hash(capsys: Output, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    text = add(
        capsys,
        file,
        "alice",
        *("--videos", "cam-*", "--videos", "4c47*", "--metadata", "floor=3", "--metadata", "camera=north"),
        *("--requests-per-minute", "60", "--ingest-from", "s3://bucket/a/", "--delete"),
    )
    assert len(text) > 43
    assert text not in file.read_text()
    [key] = read_keys(file)
    assert key.sha256 == digest(text)
    assert (key.name, key.videos, key.metadata) == ("alice", ("cam-*", "4c47*"), {"floor": 3, "camera": "north"})
    assert (key.requests_per_minute, key.tokens_per_minute) == (60, None)
    assert (key.ingest_from, key.delete, key.metrics) == (("s3://bucket/a/",), True, False)


def test_keys_are_found_by_themselves_only() -> None:
    alice, bob = new_key("alice"), new_key("bob")
    keys = [alice[1], bob[1]]
    assert find_key(keys, bob[0]) == bob[1]
    assert find_key(keys, bob[0][:-1]) is None
    assert find_key(keys, bob[1].sha256) is None
    assert find_key(keys, "") is None


def test_list_and_remove(capsys: Output, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    texts = [add(capsys, file, name) for name in ("alice", "bob")]
    _, listed, _ = run(capsys, "keys", "list", "--file", file, "--json")
    assert [key["name"] for key in json.loads(listed)] == ["alice", "bob"]
    assert not any(digest(text) in listed or text in listed for text in texts)
    assert run(capsys, "keys", "remove", "alice", "--file", file)[0] == 0
    assert [key.name for key in read_keys(file)] == ["bob"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["add", "bob"], "a key 'bob' already"),
        (["add", "a b"], "name"),
        (["add", "carl", "--metadata", "floor"], "name=value"),
        (["remove", "alice"], "no key 'alice'"),
    ],
)
def test_mistakes_change_nothing(capsys: Output, tmp_path: Path, arguments: list[str], complaint: str) -> None:
    file = tmp_path / "keys.json"
    add(capsys, file, "bob")
    before = file.read_bytes()
    status, _, complained = run(capsys, "keys", *arguments, "--file", file)
    assert status != 0
    assert complaint in complained
    assert file.read_bytes() == before


def test_keys_that_are_added_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"

    def put(number: int) -> None:
        change_keys(file, lambda keys: [*keys, new_key(f"key-{number}")[1]])

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(put, range(16)))
    assert len(read_keys(file)) == 16


def test_a_running_service_follows_the_file(tmp_path: Path) -> None:
    now, file = [0.0], tmp_path / "keys.json"
    text, key = new_key("alice")
    change_keys(file, lambda _: [key])
    followed = KeyFile(file, clock=lambda: now[0])
    assert find_key(followed.keys(), text) == key
    change_keys(file, lambda _: [])
    now[0] += 2
    assert followed.keys() == []
    change_keys(file, lambda _: [key])
    now[0] += 2
    assert followed.keys() == [key]
    for damage in ("{", '{"keys": [{"name": "x"}]}'):
        file.write_text(damage)
        now[0] += 2
        assert followed.keys() == [key], "a file that somebody is editing must lock nobody out"
    os.unlink(file)  # noqa: PTH108
    now[0] += 2
    assert followed.keys() == [key]


@pytest.mark.parametrize("content", [None, "", "[]", '{"version": 2, "keys": []}'])
def test_a_service_does_not_start_without_a_sound_file(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "keys.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match="videox2l keys"):
        KeyFile(file)
