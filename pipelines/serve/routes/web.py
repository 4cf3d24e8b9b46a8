"""``/``: the web page, of files that lie beside the code. It uses the same API as any other client."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files

from fastapi import Request, Response
from starlette.exceptions import HTTPException

from pipelines.serve.routes.route import open_router

router = open_router()

_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}

_FOLDER = files("pipelines.serve") / "web"

# Nothing from elsewhere, and no script but its own files: whatever a video's name or an answer holds stays text.
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; media-src 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


@router.get("/", include_in_schema=False)
async def page(request: Request) -> Response:
    """The page itself. It holds no data, so it needs no key."""
    return _file("index.html", request)


@router.get("/web/{name}", include_in_schema=False)
async def part(name: str, request: Request) -> Response:
    """What the page is made of."""
    return _file(name, request)


def _file(name: str, request: Request) -> Response:
    found = _contents().get(name)
    if found is None:
        raise HTTPException(404)
    data, tag = found
    headers = _HEADERS | {"ETag": tag}
    # Videos may be played from where the operator has said so, and from nowhere else.
    policy = [_HEADERS["Content-Security-Policy"], *request.app.state.backend.playback.origins]
    headers["Content-Security-Policy"] = " ".join(policy)
    if request.headers.get("If-None-Match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(data, media_type=_TYPES[name.rpartition(".")[2]], headers=headers)


@cache
def _contents() -> dict[str, tuple[bytes, str]]:
    """Content and tag of each file, by its name."""
    read = {item.name: item.read_bytes() for item in _FOLDER.iterdir() if item.name.rpartition(".")[2] in _TYPES}
    return {name: (data, f'"{hashlib.sha256(data).hexdigest()[:32]}"') for name, data in read.items()}
