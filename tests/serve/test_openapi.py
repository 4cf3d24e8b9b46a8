"""The service keeps what its own description says, whatever it is asked: fuzzed by schemathesis."""

from __future__ import annotations

import random
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode, checks

from pipelines.serve.api import describe_api
from tests.serve.client import Client
from tests.serve.conftest import MODEL

NAMES = ["kitchen.mp4", "a garden.mp4", "foreign.mp4", "old.mp4", "videox2l://kitchen.mp4#t=10,20"]
TURN = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "That."}]

OPERATIONS = [(path, method) for path, methods in describe_api().openapi()["paths"].items() for method in methods]

# Of each operation. An answer of one token takes some milliseconds.
EXAMPLES = 40

# Whether a request that fits may still be refused (no such video, not this key's) is not in a description.
# Nor, as the hooks below mend what they change, whether one that does not fit is still such a one.
NOT_PROMISED = [checks.positive_data_acceptance, checks.negative_data_rejection]


@pytest.fixture(scope="module")
def api(client: Client) -> Any:
    schema = schemathesis.openapi.from_url(f"{client.url}/openapi.json")

    @schema.hook
    def map_body(context: Any, body: Any) -> Any:
        """Most made-up requests are refused for their model. Some of these get to an engine, for a short answer."""
        rng = random.Random(repr(body))
        if isinstance(body, dict) and "messages" in body:
            body |= {"max_tokens": 1, "max_completion_tokens": 1}
            if rng.random() < 0.8:
                body |= {"model": MODEL, "video": rng.choice(NAMES)}
            if rng.random() < 0.5:
                body["messages"] = TURN * rng.randrange(3) + TURN[:1]
        return body

    @schema.hook
    def map_query(context: Any, query: Any) -> Any:
        """Request lines of more than 64 KiB never get past uvicorn, which refuses them in plain text."""

        def short(value: Any) -> Any:
            return value[:300] if isinstance(value, str) else value

        return {
            name: [short(one) for one in value[:20]] if isinstance(value, list) else short(value)
            for name, value in (query or {}).items()
        }

    @schema.hook
    def map_path_parameters(context: Any, path_parameters: Any) -> Any:
        """Most made-up videos are not there, and none may be deleted."""
        name = random.Random(repr(path_parameters)).choice([*NAMES[:4], None, None])
        if context.operation.method == "get" and "video" in (path_parameters or {}) and name is not None:
            path_parameters["video"] = name
        return path_parameters

    return schema


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_an_operation_keeps_its_promises(api: Any, client: Client, path: str, method: str) -> None:
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=st.one_of(api[path][method].as_strategy(mode) for mode in GenerationMode))
    def ask(case: schemathesis.Case) -> None:
        case.call_and_validate(headers=client.headers, excluded_checks=NOT_PROMISED)

    ask()


def test_the_service_answers_after_all_that(client: Client) -> None:
    assert client.ask("What happens?", max_tokens=2).status == 200
