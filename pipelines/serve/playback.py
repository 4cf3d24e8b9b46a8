"""Where a video can be watched: its source, if the operator has opened the place where it lies.

A browser's player sends no key, so a file gets an address of its own that is signed and good for an hour. An address on
the web is passed on as it is: the browser fetches it, this service never does.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from pipelines.serve.errors import SourceNotPlayableError
from pipelines.serve.sources import is_allowed

# Long enough to watch what an answer points to, short enough that a copied address is soon worth nothing.
_VALID_S = 3600.0

_DIGEST_BYTES = hashlib.sha256().digest_size


class Playback:
    """Signs and checks addresses. They are good for this object only: a service that starts anew signs anew."""

    def __init__(self, places: Sequence[str], clock: Callable[[], float] = time.time) -> None:
        self._places, self._clock = places, clock
        self._secret = secrets.token_bytes(32)

    @property
    def origins(self) -> list[str]:
        """Of addresses on the web that it may pass on."""
        found = {f"{place.scheme}://{place.netloc}" for place in map(urlsplit, self._places) if "http" in place.scheme}
        return sorted(found)

    def address(self, source: str) -> str:
        """An absolute path of this service, or a URL elsewhere, for a video's ``source`` (a URL).

        :raises SourceNotPlayableError: it lies where nothing may be played from, or is not there any more.
        """
        if urlsplit(source).scheme in ("http", "https"):
            self._check(source)
            return source
        path = _local(source)
        self._check(path)
        payload = json.dumps([path, self._clock() + _VALID_S]).encode()
        return f"/v1/sources/{base64.urlsafe_b64encode(self._sign(payload) + payload).decode()}"

    def file(self, ticket: str) -> Path:
        """The file that an address of :meth:`address` stands for.

        :raises SourceNotPlayableError: the address was not signed here, its hour is over, or the file is gone.
        """
        try:
            data = base64.urlsafe_b64decode(ticket.encode("ascii"))
        except ValueError:
            data = b""
        signature, payload = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
        if not hmac.compare_digest(signature, self._sign(payload)):
            raise SourceNotPlayableError("this is no address of a video here, or the service was started anew")
        path, until = json.loads(payload)
        if self._clock() > until:
            raise SourceNotPlayableError("this address is too old: ask for the video's source again")
        self._check(path)
        return Path(path)

    def _sign(self, payload: bytes) -> bytes:
        return hmac.digest(self._secret, payload, "sha256")

    def _check(self, source: str) -> None:
        if not is_allowed(source, self._places):
            raise SourceNotPlayableError(
                "the source of this video cannot be played here: it is not there any more, or its operator has not "
                "opened the place where it lies (--play-from)"
            )


def _local(source: str) -> str:
    """The path of a ``file:`` URL; other sources stay, and are none that may be played."""
    parts = urlsplit(source)
    return url2pathname(parts.path) if parts.scheme == "file" else source
