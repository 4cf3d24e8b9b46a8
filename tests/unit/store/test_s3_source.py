"""How odd answers of an S3 server are taken; faults of the network are in ``tests/s3/test_faults.py``."""

from __future__ import annotations

import asyncio
import http.server
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from videox2l.errors import ArchiveError
from videox2l.store.range_sources import Data, TransientError, open_source
from videox2l.store.storage import Range, Storage

BODY = b"0123456789"
PART = Range("a file", 2, 4)


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers every GET with what the server's ``answer`` says: status, headers and body."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        status, headers, body = self.server.answer  # type: ignore[attr-defined]
        self.server.seen.append((self.path, dict(self.headers)))  # type: ignore[attr-defined]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def shared_server() -> Iterator[http.server.ThreadingHTTPServer]:
    with running() as server:
        yield server


@pytest.fixture
def server(
    shared_server: http.server.ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> http.server.ThreadingHTTPServer:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    shared_server.answer, shared_server.seen = good(), []  # type: ignore[attr-defined]
    return shared_server


@contextmanager
def running(context: ssl.SSLContext | None = None) -> Iterator[http.server.ThreadingHTTPServer]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.answer, server.seen = good(), []  # type: ignore[attr-defined]
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def good() -> tuple[int, dict[str, str], bytes]:
    return 206, {"Content-Range": "bytes 2-5/10"}, BODY[2:6]


class Pieces:
    """Keeps the pieces, which make up the whole."""

    def __init__(self) -> None:
        self._seen = b""

    def piece(self, data: memoryview) -> None:
        self._seen += data

    def whole(self, data: Data) -> bytes:
        assert bytes(data) == self._seen
        return self._seen


def read(url: str, **client: object) -> bytes:
    options = {"key": "key", "secret": "secret", "endpoint_url": url, "client_kwargs": client}
    source = open_source(Storage("s3://bucket/folder", options), 2)

    async def run() -> bytes:
        return await source.read(PART, Pieces())

    try:
        return asyncio.run(run())
    finally:
        source.close()


def url(server: http.server.ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_port}"


def test_one_signed_request(server: http.server.ThreadingHTTPServer) -> None:
    assert read(url(server)) == BODY[2:6]
    [(path, headers)] = server.seen  # type: ignore[attr-defined]
    assert path == "/bucket/folder/a%20file"
    assert headers["Range"] == "bytes=2-5"
    assert headers["Authorization"].startswith("AWS4-HMAC-SHA256 Credential=key/")


@pytest.mark.parametrize(
    ("answer", "expected", "message"),
    [
        pytest.param((200, {}, BODY), ArchiveError, "HTTP status 200", id="ranges ignored"),
        pytest.param((206, {"Content-Range": "bytes 0-3/10"}, BODY[:4]), ArchiveError, "another range", id="elsewhere"),
        pytest.param((206, {"Content-Range": "bytes 2-7/10"}, BODY[2:8]), ArchiveError, "another range", id="too much"),
        pytest.param((206, {}, BODY[2:6]), ArchiveError, "another range", id="which range is not said"),
        pytest.param(
            (206, {"Content-Range": "bytes 2-5/10"}, BODY[2:4]), TransientError, "broken off", id="too little"
        ),
        pytest.param((301, {"Location": "http://127.0.0.1:1/"}, b""), ArchiveError, "the region", id="redirected"),
        pytest.param(
            (400, {}, b"<Error><Code>RequestTimeout</Code></Error>"), TransientError, "RequestTimeout", id="timed out"
        ),
        pytest.param(
            (403, {}, b"<Error><Code>AccessDenied</Code><Message>No.</Message></Error>"),
            ArchiveError,
            "AccessDenied: No",
            id="refused",
        ),
    ],
)
def test_odd_answers(server: http.server.ThreadingHTTPServer, answer: object, expected: type, message: str) -> None:
    server.answer = answer  # type: ignore[attr-defined]
    with pytest.raises(expected, match=message):
        read(url(server))


def test_a_server_that_is_not_there() -> None:
    with pytest.raises(TransientError):
        read("http://127.0.0.1:1")


def test_through_the_proxy_of_the_environment(
    server: http.server.ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", url(server))
    assert read("http://s3.example.org") == BODY[2:6]
    [(path, _)] = server.seen  # type: ignore[attr-defined]
    assert path == "http://s3.example.org/bucket/folder/a%20file"


def test_certificates_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = write_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with running(context) as server:
        address = f"https://localhost:{server.server_port}"
        with pytest.raises(TransientError, match="CERTIFICATE_VERIFY_FAILED"):
            read(address)
        assert read(address, verify=str(certificate)) == BODY[2:6]
        monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
        assert read(address) == BODY[2:6]


def write_certificate(folder: Path) -> Path:
    """A certificate of this machine and its key in one file, signed by nobody but itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "localhost.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path
