"""A service of two small videos, and a browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.demo.clips import render_clips
from pipelines.serve import running_service
from pipelines.serve.keys import change_keys, new_key
from tests.ray_cluster import ray_cluster
from videox2l import load_model
from videox2l.prefill import ingest_video
from videox2l.store import Archive

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

__all__ = ["ray_cluster"]

HOSTILE = "<img src=x onerror=alert(1)>.mp4"


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser's path."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = os.environ.get("VIDEOX2L_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip("no browser: install chromium (tests/page/install_chromium.sh), or set VIDEOX2L_CHROMIUM")
    return found


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    folder = tmp_path_factory.mktemp("web")
    archive = Archive.open(folder / "archive", create=True)
    model = load_model("tiny", device="cpu")
    long, short, other = render_clips(folder / "videos", (12, 2, 3))
    ingest_video(model, archive, long.path, name="shapes.mp4")
    ingest_video(model, archive, short.path.rename(short.path.with_name(HOSTILE)), thumbnails=False)
    ingest_video(model, archive, other.path, name="figures.mp4")
    return archive


@pytest.fixture(scope="session")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys.json"


@pytest.fixture(scope="session")
def key(key_file: Path) -> str:
    """A key of the service; the page is given it in advance."""
    text, made = new_key("reader")
    change_keys(key_file, lambda keys: [*keys, made])
    return text


@pytest.fixture(scope="module")
def service(chromium: str, ray_cluster: None, archive: Archive, key: str, key_file: Path) -> Iterator[str]:
    videos = str(Path(archive.url).parent / "videos")
    with running_service(archive.url, model="tiny", api_keys=str(key_file), play_from=(videos,)) as url:
        yield url


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[playwright.Browser]:
    with playwright.sync_playwright() as started:
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # which does not start as root
        browser = started.chromium.launch(executable_path=chromium, args=sandbox)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def pictures() -> Path | None:
    """Where the pictures of the documentation go, if they are to be made: VIDEOX2L_SCREENSHOTS."""
    folder = os.environ.get("VIDEOX2L_SCREENSHOTS")
    return Path(folder) if folder else None
