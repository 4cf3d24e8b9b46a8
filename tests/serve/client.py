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
    key: str = ""

    @property
    def openai(self) -> OpenAI:
        return OpenAI(base_url=f"{self.url}/v1", api_key=self.key or "unused", max_retries=0, timeout=120)

    def get(self, path: str, **headers: str) -> Reply:
        return self.send("GET", path, **headers)

    def delete(self, path: str) -> Reply:
        return self.send("DELETE", path)

    def post(self, body: bytes) -> Reply:
        return self._send(self.request(body))

    def send(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
        given = {**self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return self._send(urllib.request.Request(self.url + path, body, given, method=method))

    @property
    def headers(self) -> dict[str, str]:
        return {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self.key}"} if self.key else {})

    def ask(self, question: str, **fields: Any) -> Reply:
        return self.post(self.body(question, **fields))

    def body(self, question: str, **fields: Any) -> bytes:
        messages = [{"role": "user", "content": question}]
        return json.dumps({"model": self.model, "messages": messages, "video": "kitchen.mp4", **fields}).encode()

    def request(self, body: bytes) -> urllib.request.Request:
        return urllib.request.Request(f"{self.url}/v1/chat/completions", body, self.headers)

    def _send(self, request: urllib.request.Request) -> Reply:
        try:
            with urllib.request.urlopen(request, timeout=120) as response:
                return Reply(response.status, dict(response.headers), response.read())
        except urllib.error.HTTPError as error:
            with error:
                return Reply(error.code, dict(error.headers), error.read())
