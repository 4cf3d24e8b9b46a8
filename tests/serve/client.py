"""Plain HTTP and the official client, side by side."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from openai import OpenAI


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Client:
    url: str
    model: str

    @property
    def openai(self) -> OpenAI:
        return OpenAI(base_url=f"{self.url}/v1", api_key="unused", max_retries=0, timeout=120)

    def get(self, path: str) -> Reply:
        return self._send(urllib.request.Request(self.url + path))

    def post(self, body: bytes) -> Reply:
        return self._send(self.request(body))

    def ask(self, question: str, **fields: Any) -> Reply:
        return self.post(self.body(question, **fields))

    def body(self, question: str, **fields: Any) -> bytes:
        messages = [{"role": "user", "content": question}]
        return json.dumps({"model": self.model, "messages": messages, "video": "kitchen.mp4", **fields}).encode()

    def request(self, body: bytes) -> urllib.request.Request:
        headers = {"Content-Type": "application/json"}
        return urllib.request.Request(f"{self.url}/v1/chat/completions", body, headers)

    def _send(self, request: urllib.request.Request) -> Reply:
        try:
            with urllib.request.urlopen(request, timeout=120) as response:
                return Reply(response.status, dict(response.headers), response.read())
        except urllib.error.HTTPError as error:
            with error:
                return Reply(error.code, dict(error.headers), error.read())
