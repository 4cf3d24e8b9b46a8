"""A web server for files, which says what was asked of it."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


@dataclass
class Traffic:
    """Requests for content, by path: how many bytes each of them was sent."""

    url: str
    sent: dict[str, list[int]] = field(default_factory=dict)

    def bytes(self, name: str) -> int:
        return sum(self.sent.get(name, []))

    def requests(self, name: str) -> int:
        return len(self.sent.get(name, []))


@contextmanager
def serve(folder: Path, *, ranges: bool = True) -> Iterator[Traffic]:
    """Serve the files of ``folder`` on this machine; without ``ranges`` only whole, as some servers do."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(content=True)

        def do_HEAD(self) -> None:
            self._answer(content=False)

        def _answer(self, *, content: bool) -> None:
            name = unquote(urlsplit(self.path).path).lstrip("/")
            path = folder / name
            if not path.is_file():
                self.send_error(404)
                return
            data = path.read_bytes()
            etag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
            wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")) if ranges else None
            start, stop = 0, len(data)
            if wanted:
                start, stop = (
                    int(wanted[1]),
                    min(len(data), int(wanted[2] or len(data)) + 1 if wanted[2] else len(data)),
                )
                if start >= len(data):
                    self.send_error(416)
                    return
            self.send_response(206 if wanted else 200)
            if wanted:
                self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}")
            if ranges:
                self.send_header("Accept-Ranges", "bytes")
            self.send_header("ETag", etag)
            self.send_header("Content-Length", str(stop - start))
            self.end_headers()
            if content:
                count = 0
                try:
                    for at in range(start, stop, 2**16):
                        count += self.wfile.write(data[at : min(stop, at + 2**16)])
                except ConnectionError:
                    self.close_connection = True
                traffic.sent.setdefault(name, []).append(count)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    traffic = Traffic(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield traffic
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
