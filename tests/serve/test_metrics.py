"""What Prometheus reads at /metrics."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from pipelines.serve.metrics import METRICS, PREFIX
from tests.serve.client import Client

CHAT = "/v1/chat/completions"


def scrape(client: Client) -> dict[tuple[str, ...], float]:
    """Values by name without prefix and the labels' values, in the order of the labels' names."""
    reply = client.get("/metrics")
    assert reply.status == 200
    assert reply.headers["content-type"].startswith("text/plain")
    return {
        (sample.name.removeprefix(PREFIX), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(reply.body.decode())
        for sample in family.samples
    }


def test_every_metric_is_there(client: Client) -> None:
    client.ask("What happens?", max_tokens=2)
    text = client.get("/metrics").body.decode()
    names = {family.name for family in text_string_to_metric_families(text) if not family.name.endswith("_created")}
    assert names == {PREFIX + name.removesuffix("_total") for name in METRICS}


def test_what_was_asked_is_counted(client: Client) -> None:
    before = scrape(client)
    whole = client.ask("What happens?", max_tokens=3).json
    client.ask("What happens?", max_tokens=3, stream=True)
    client.ask("What happens?", video="old.mp4", select="1", max_tokens=3)
    client.ask("What happens?", max_tokens=0)
    client.get("/v1/videos/kitchen.mp4")
    client.get("/nowhere")
    after = scrape(client)

    def grown(*key: str) -> float:
        return after.get(key, 0) - before.get(key, 0)

    assert grown("requests_total", "POST", CHAT, "200") == 3
    assert grown("requests_total", "POST", CHAT, "400") == 1
    assert grown("requests_total", "GET", "/v1/videos/{video}", "200") == 1
    assert grown("requests_total", "GET", "none", "404") == 1
    assert grown("request_seconds_count", CHAT) == 4
    assert grown("first_token_seconds_count") == 3
    assert grown("tokens_total", "completion") == 9
    assert grown("tokens_total", "prompt") >= 2 * whole["usage"]["prompt_tokens"]
    assert grown("answers_total", "length") == 3
    assert grown("degraded_answers_total") == 1
    assert grown("kv_bytes_total", "low", "storage") >= 0
    assert grown("generated_tokens_total") >= 9
    assert after["engines",] == 1
    assert after["resident_videos",] >= 2
    assert after["cache_bytes", "video"] > 0
    assert after["requests_running",] == 1, "this one"
