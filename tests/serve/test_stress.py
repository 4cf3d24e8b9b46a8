"""What must not happen to a service under load: torn answers, lost questions, places that stay taken."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest
from ray import serve

from pipelines.serve import ServiceConfig, build_app
from pipelines.serve.service import APPLICATION
from tests.archives import random_index
from tests.serve.client import Client, Reply
from tests.serve.conftest import MAX_ONGOING, MAX_QUEUED
from tests.serve.replies import events, text_of
from tests.serve.test_metrics import scrape
from tests.unit.answering.by_hand import LOSSES
from videox2l.models import KVCompressibleModel
from videox2l.store import Archive

QUESTION = "What happens?"

# An engine that was killed is loaded anew: ten seconds on a quiet machine, more on a busy one.
pytestmark = pytest.mark.timeout(300)


def wait_until_idle(client: Client) -> None:
    """Until the engines work on nothing."""
    deadline = time.monotonic() + 60
    while (now := scrape(client))["questions_running",] + now["questions_waiting",] or now["requests_running",] > 1:
        assert time.monotonic() < deadline, now
        time.sleep(0.05)


def test_overload_is_refused_before_the_first_byte_and_tears_nothing(client: Client) -> None:
    crowd = 2 * (MAX_ONGOING + MAX_QUEUED)
    expected = text_of(client.ask(QUESTION, max_tokens=200))
    with ThreadPoolExecutor(crowd) as threads:
        asked = [threads.submit(client.ask, QUESTION, max_tokens=200, stream=bool(i % 2)) for i in range(crowd)]
        assert client.get("/readyz").json["status"] == "ready", "full is not down: a balancer must not take it away"
        replies = [future.result() for future in asked]
    refused = [reply for reply in replies if reply.status != 200]
    assert 0 < len(refused) < crowd
    for reply in refused:
        assert (reply.status, reply.json["error"]["code"]) == (503, "overloaded")
        assert int(reply.headers["retry-after"]) >= 1
    assert {text_of(reply) for reply in replies if reply.status == 200} == {expected}


def test_a_client_that_leaves_frees_its_place(client: Client) -> None:
    wait_until_idle(client)
    for stream in (True, False):
        body = client.body("Go on.", stream=stream, max_tokens=3500, select="none")
        if stream:
            with closing(urllib.request.urlopen(client.request(body), timeout=60)) as response:
                response.readline()
                assert scrape(client)["questions_running",] >= 1
        else:
            with pytest.raises((TimeoutError, urllib.error.URLError)):
                urllib.request.urlopen(client.request(body), timeout=0.5)
        left = time.monotonic()
        wait_until_idle(client)
        # The answer would take tens of seconds. A second is what it takes at most on a machine with nothing else to do.
        assert time.monotonic() - left < 5


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds its processes in /proc")
def test_an_engine_that_is_killed_loses_no_question_that_had_not_begun(client: Client) -> None:
    expected = text_of(client.ask(QUESTION, max_tokens=300))
    before = scrape(client)
    count = MAX_ONGOING + 4
    with ThreadPoolExecutor(count) as threads:
        asked = [threads.submit(client.ask, QUESTION, max_tokens=300, stream=i % 4 == 0) for i in range(count)]
        while scrape(client)["questions_running",] == 0:
            time.sleep(0.01)
        kill_engine()
        replies = [future.result() for future in asked]
    whole = [reply for i, reply in enumerate(replies) if i % 4]
    assert [text_of(reply) for reply in whole] == [expected] * len(whole)
    for reply in replies[::4]:
        assert reply.status == 200
        last = events(reply)[-1]
        if last != "[DONE]":  # it had begun; the client is told
            assert last["error"]["code"] == "engine_restarting"
            assert len(events(reply)) > 1
    assert scrape(client)["retries_total",] > before["retries_total",]


def kill_engine() -> None:
    """End the engine's process at once, as a lost machine does. Only of this test's own Ray."""
    [engine] = [
        process
        for process in psutil.Process().children(recursive=True)
        if any("ServeReplica" in part and "Engine" in part for part in process.cmdline())
    ]
    os.kill(engine.pid, signal.SIGKILL)


def test_a_thousand_malformed_requests_leave_the_service_as_it_was(client: Client) -> None:
    expected = text_of(client.ask(QUESTION, max_tokens=20))
    wait_until_idle(client)
    before = scrape(client)
    rng = random.Random(7)
    sound = client.body(QUESTION, max_tokens=1)

    def malformed() -> bytes:
        kind = rng.randrange(4)
        if kind == 0:
            return rng.randbytes(rng.randrange(2000))
        if kind == 1:
            return sound[: rng.randrange(len(sound))]
        if kind == 2:
            field = rng.choice(["n", "seed", "stop", "top_p", "videox2l"])
            return client.body(QUESTION, **{field: {"x": [rng.random()]}})
        return client.body("?" * rng.randrange(1, 50), video=f"no-{rng.random()}")

    bodies = [malformed() for _ in range(1000)]
    with ThreadPoolExecutor(16) as threads:
        statuses = [reply.status for reply in threads.map(client.post, bodies)]
    assert set(statuses) <= {400, 404}
    wait_until_idle(client)
    after = scrape(client)
    for name in ("questions_total", "resident_videos", "resident_bytes", "engines", "broken_streams_total"):
        assert after[name,] == before[name,], name
    assert text_of(client.ask(QUESTION, max_tokens=20)) == expected


@pytest.mark.parametrize("loss", ["a byte changed", "a shard cut short", "a shard lost"])
def test_a_damaged_shard_costs_detail_only_and_the_answer_says_so(
    client: Client, archive: Archive, random_model: KVCompressibleModel, loss: str
) -> None:
    damage, reason = LOSSES[loss]
    reader = random_index(archive, random_model, "damaged.mp4", seed=11)
    try:
        lost = damage(archive, reader.manifest)
        deadline = time.monotonic() + 20  # the service lists the archive anew every few seconds
        while client.get(f"/v1/videos/{reader.manifest.video.video_id}").status == 404:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        for stream in (False, True):
            reply = client.ask(
                QUESTION, video=reader.manifest.video.video_id, select="all", max_tokens=4, stream=stream
            )
            assert text_of(reply)
            evidence = events(reply)[-2]["videox2l"] if stream else reply.json["videox2l"]
            assert {span["chunk"] for span in evidence["degraded"]} == lost
            assert all(reason in span["reason"] for span in evidence["degraded"])
    finally:
        assert client.delete(f"/v1/videos/{reader.manifest.video.video_id}").status == 200


@contextmanager
def asking_all_the_time(client: Client) -> Iterator[list[Reply]]:
    """Two clients, one that streams, until the block ends. The list grows."""
    replies: list[Reply] = []
    enough = threading.Event()

    def ask(stream: bool) -> None:
        while not enough.is_set():
            replies.append(client.ask(QUESTION, max_tokens=20, stream=stream))

    with ThreadPoolExecutor(2) as threads:
        asking = [threads.submit(ask, stream) for stream in (False, True)]
        try:
            yield replies
        finally:
            enough.set()
            for future in asking:
                future.result()


def test_a_rolling_restart_fails_no_request(client: Client, service_config: ServiceConfig) -> None:
    expected = text_of(client.ask(QUESTION, max_tokens=20))
    # Any change makes all deployments anew.
    changed = service_config.model_copy(update={"resident_bytes": service_config.resident_bytes + 1})
    with asking_all_the_time(client) as replies:
        serve.run(build_app(changed), name=APPLICATION)
        behind = len(replies)
        while len(replies) < behind + 10:
            time.sleep(0.05)
    assert {text_of(reply) for reply in replies} == {expected}
