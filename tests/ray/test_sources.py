from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import boto3
import pytest
import s3fs

from pipelines.ingest import IngestSettings, expand_sources
from pipelines.ingest.sources import VideoRequest, check_some_exist, requests_for
from tests.web import serve
from videox2l.config import SamplingConfig
from videox2l.errors import ConfigError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "deep").mkdir()
    for name in ("b.mp4", "a.MKV", "deep/c.webm", "notes.md", "._b.mp4"):
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def paths(sources: Sequence[str | Path]) -> list[str]:
    return [request.source for request in expand_sources(sources)]


def names(sources: Sequence[str | Path]) -> list[str]:
    return [Path(source).name for source in paths(sources)]


def test_files_folders_and_globs(folder: Path, monkeypatch: pytest.MonkeyPatch):
    assert names([folder]) == ["a.MKV", "b.mp4", "c.webm"]
    assert names([folder / "*.mp4"]) == ["b.mp4"] or names([folder / "*.mp4"]) == ["._b.mp4", "b.mp4"]
    assert names([folder / "**" / "*.webm"]) == ["c.webm"]
    assert names([folder / "notes.md"]) == ["notes.md"]
    assert names([folder / "b.mp4", folder, folder / "b.mp4"]) == ["b.mp4", "a.MKV", "c.webm"]
    assert paths(["s3://bucket/a.mp4", "gone.mp4"]) == ["s3://bucket/a.mp4", "gone.mp4"]
    odd = folder / "what [1080p]?.mp4"
    odd.write_bytes(b"x")
    assert paths([odd]) == [str(odd)]
    monkeypatch.chdir(folder)
    assert names(["deep/*.webm"]) == ["c.webm"]


@pytest.mark.parametrize("url", ["https://host/v.mp4?X-Signature=ab", "https://host/v [1].mp4"])
def test_a_web_address_is_no_pattern(url: str):
    assert paths([url]) == [url]


def test_names_in_a_bucket(s3_bucket: str):
    storage = s3fs.S3FileSystem()
    for name in ("a.mp4", "b [1].mp4", "b 1.mp4"):
        storage.pipe(f"{s3_bucket}/{name}", b"x")
    assert paths([f"{s3_bucket}/b [1].mp4"]) == [f"{s3_bucket}/b [1].mp4"]
    assert paths([f"{s3_bucket}/b*.mp4"]) == [f"{s3_bucket}/b 1.mp4", f"{s3_bucket}/b [1].mp4"]


def test_what_came_into_a_bucket_since_it_was_last_looked_at(s3_bucket: str):
    client = boto3.client("s3")
    for count in (1, 2):
        client.put_object(Bucket=s3_bucket[5:], Key=f"deep/er/{count}.mp4", Body=b"x")
        assert len(paths([f"{s3_bucket}/deep/**/*.mp4"])) == count
        assert len(paths([f"{s3_bucket}/deep/*/*.mp4"])) == count


def test_a_name_that_is_not_unicode(folder: Path):
    (folder / "caf\udce9.mp4").write_bytes(b"x")
    with pytest.raises(ConfigError, match=r"caf\\udce9.mp4' is not valid UTF-8: rename"):
        expand_sources([folder])


def test_lists_name_files_folders_and_globs(folder: Path):
    (folder / "list.txt").write_text(f"# ours\n\nb.mp4\n{folder}/deep\ns3://bucket/x.mp4\n")
    (folder / "list.jsonl").write_text('{"source": "a.MKV"}\n{"source": "*.mp4", "site": "north"}')
    assert paths([folder / "list.txt"])[0] == str(folder / "b.mp4")
    assert names([folder / "list.txt"]) == ["b.mp4", "c.webm", "x.mp4"]
    found = expand_sources([folder / "list.jsonl"])
    assert Path(found[0].source).name == "a.MKV"
    assert found[0].metadata is None
    assert all(request.metadata == {"site": "north"} for request in found[1:])


def test_a_list_on_a_web_server(tmp_path: Path):
    (tmp_path / "week 1").mkdir()
    (tmp_path / "week 1" / "list.csv").write_text("source,id\nmy video.mp4,one\nhttps://elsewhere/b.mp4,two\n")
    with serve(tmp_path) as web:
        found = expand_sources([f"{web.url}/week 1/list.csv?signature=1"])
        with pytest.raises(ConfigError, match="there is no list"):
            expand_sources([f"{web.url}/gone.csv"])
    assert found == [
        VideoRequest(f"{web.url}/week 1/my video.mp4", "one"),
        VideoRequest("https://elsewhere/b.mp4", "two"),
    ]


def test_a_list_in_a_bucket(s3_bucket: str):
    s3fs.S3FileSystem().pipe(f"{s3_bucket}/lists/all.txt", "a.mp4\r\nÜber uns.mp4\r\n".encode("utf-8-sig"))
    assert paths([f"{s3_bucket}/lists/all.txt"]) == [f"{s3_bucket}/lists/a.mp4", f"{s3_bucket}/lists/Über uns.mp4"]


def test_a_video_named_twice(folder: Path):
    (folder / "list.csv").write_text("source,site\nb.mp4,north\n")
    (folder / "same.csv").write_text("source,site\nb.mp4,north\n")
    (folder / "other.csv").write_text("source,site\nb.mp4,south\n")
    one = [VideoRequest(str(folder / "b.mp4"), metadata={"site": "north"})]
    for sources in (["b.mp4", "list.csv"], ["list.csv", "b.mp4"], ["list.csv", "same.csv"]):
        assert expand_sources([folder / source for source in sources]) == one
    with pytest.raises(ConfigError, match=r"other\.csv, line 2.*is listed already.*list\.csv, line 2"):
        expand_sources([folder / "list.csv", folder / "other.csv"])


def test_settings_and_lists_that_do_not_go_together(folder: Path):
    (folder / "list.csv").write_text("source,fps\nb.mp4,2\n")
    [request] = requests_for([folder / "list.csv"], IngestSettings(recorded_at="2026-05-01T09:00:00Z"))
    assert request.recorded_at == "2026-05-01T09:00:00+00:00"
    assert request.sampling(SamplingConfig(fps=1, max_frames=9)) == SamplingConfig(fps=2, max_frames=9)
    with pytest.raises(ConfigError, match="fixed number of frames"):
        requests_for([folder / "list.csv"], IngestSettings(sampling=SamplingConfig(frames=8)))


def test_nothing_found(tmp_path: Path):
    for source, complaint in (
        (tmp_path, "no videos in"),
        (tmp_path / "*.mp4", "nothing matches"),
        (tmp_path / "list.txt", "there is no list"),
    ):
        with pytest.raises(ConfigError, match=complaint):
            expand_sources([source])
    with pytest.raises(ConfigError, match="no videos were given"):
        expand_sources([])


def test_none_of_the_files_exists(folder: Path):
    absent, there = str(folder / "absent.mp4"), str(folder / "b.mp4")
    for fine in ([there], [absent, there], [absent, "s3://bucket/a.mp4"]):
        check_some_exist(fine)
    with pytest.raises(ConfigError, match=r"there is no file .*absent\.mp4: check"):
        check_some_exist([absent])
    with pytest.raises(ConfigError, match="nor any of the 1 named with it"):
        check_some_exist([absent, absent])
