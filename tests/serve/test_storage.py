"""Object storage that is slow or fails: answers come in time from what is resident, and say what they lack."""

from __future__ import annotations

import dataclasses
import time
import uuid
from collections.abc import Iterator

import pytest
from ray import serve

from pipelines.serve import ServiceConfig, build_app
from tests.archives import random_index
from tests.s3.faults import Fault, FaultProxy, Plan, Request, healthy
from tests.s3.server import start
from tests.serve.client import Client, Reply
from tests.serve.replies import events, text_of
from videox2l.models import KVCompressibleModel
from videox2l.store import Archive
from videox2l.store.storage import Storage

QUESTION = "What happens?"

# More than healthy storage takes on a busy machine. What hangs does so for longer, and then breaks off.
DEADLINE_S = 1.0
HANG = Fault("stall", seconds=2.5)


@pytest.fixture(scope="module")
def storage() -> Iterator[FaultProxy]:
    """In front of a real S3 server."""
    with FaultProxy(start()) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def remote(
    storage: FaultProxy, client: Client, service_config: ServiceConfig, random_model: KVCompressibleModel
) -> Iterator[Client]:
    """A second application of the same Serve, whose archive is an S3 bucket behind ``storage``."""
    options = {
        "key": "test",
        "secret": "test",
        "client_kwargs": {"region_name": "us-east-1"},
        "endpoint_url": storage.url,
    }
    url = f"s3://{(bucket := uuid.uuid4().hex)}/archive"
    Storage(url, options).fs.call_s3("create_bucket", Bucket=bucket)
    archive = Archive.open(url, create=True, storage_options=options)
    random_index(archive, random_model, "kitchen.mp4", chunks=5, seed=1)
    config = service_config.model_copy(
        update={
            "archive_url": archive.url,
            "storage_options": options,
            "ingest_from": (),
            "low_memory_bytes": 0,
            "low_disk_bytes": 0,
            "mixed_bytes": 0,
            "low_deadline_s": DEADLINE_S,
        }
    )
    serve.run(build_app(config), name="remote", route_prefix="/remote")
    yield dataclasses.replace(client, url=f"{client.url}/remote")
    serve.delete("remote")


@pytest.fixture
def asked(remote: Client, storage: FaultProxy) -> Iterator[Client]:
    """A service that has the video's high KVs."""
    assert remote.ask(QUESTION, select="none", max_tokens=1).status == 200
    yield remote
    storage.plan = healthy


def low_only(fault: Fault) -> Plan:
    def plan(request: Request) -> Fault | None:
        return fault if request.method == "GET" and "/low-" in request.path else None

    return plan


def everything(fault: Fault) -> Plan:
    return lambda _: fault


def evidence_of(reply: Reply, stream: bool) -> dict:
    return events(reply)[-2]["videox2l"] if stream else reply.json["videox2l"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "plan",
    [low_only(HANG), low_only(Fault("status", 503)), everything(HANG), everything(Fault("reset"))],
    ids=["slow low KVs", "refused low KVs", "slow", "gone"],
)
def test_trouble_costs_detail_only_and_the_answer_says_so(
    asked: Client, storage: FaultProxy, plan: Plan, stream: bool
) -> None:
    gist = text_of(asked.ask(QUESTION, select="none", max_tokens=8))
    storage.plan = plan
    began = time.monotonic()
    reply = asked.ask(QUESTION, select="1,3", max_tokens=8, stream=stream)
    assert time.monotonic() - began < DEADLINE_S + 10
    assert text_of(reply) == gist
    evidence = evidence_of(reply, stream)
    assert [span["chunk"] for span in evidence["degraded"]] == [1, 3]
    assert all(span["reason"] for span in evidence["degraded"])
    storage.plan = healthy
    while evidence_of(asked.ask(QUESTION, select="1,3", max_tokens=8), stream=False)["degraded"]:
        # Requests that hang are given up after some seconds; questions wait for them rather than send more.
        assert time.monotonic() - began < 60


def test_a_question_names_its_own_deadline(asked: Client, storage: FaultProxy) -> None:
    storage.plan = low_only(HANG)
    reply = asked.ask(QUESTION, select="2", max_tokens=4, videox2l={"max_first_token_ms": 300})
    evidence = evidence_of(reply, stream=False)
    assert [span["chunk"] for span in evidence["degraded"]] == [2]
    assert "did not come within" in evidence["degraded"][0]["reason"]
    assert evidence["milliseconds"]["fetch_low"] < DEADLINE_S * 1000
