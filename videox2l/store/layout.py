"""Where things lie in an archive, relative to its root. The same on a local folder and in object storage.

::

    archive.json                                    format version; its presence makes the folder an archive
    models/<model_fp>.json                          what a model fingerprint stands for, readable
    calibrations/<model_fp>.json                    which settings of a model answer as the whole video does
    videos/<video_id>/<index_fp>/manifest.json      the commit point of an index, written last
    videos/<video_id>/<index_fp>/attempts/<id>/     shards of one writer: low-*.arrow, high-*.arrow, prompt.arrow,
                                                    thumbnails-*.arrow, vectors-*.arrow;
                                                    journal.json and claim.json while they are not committed
    catalog/<video_id>-<index_fp>.parquet           one row, for listings and queries; a cache of the manifests
    sources/<hash of a URL>.json                    what was found at a URL, so that it need not be read again
    quarantine/<video_id>-<index_fp>.json           why ingests leave a video alone
    runs/<run_id>.jsonl                             the ledger of an ingest
    ingests/<id>.json                               an ingest that was submitted to a service, and what became of it

Every writer has an attempt folder of its own, so writers cannot damage one another's shards; the manifest names the
attempt that each shard belongs to.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import UTC, datetime
from typing import Literal

from videox2l.kv.chunk import Level

ARCHIVE = "archive.json"
VIDEOS = "videos"
CATALOG = "catalog"
MODELS = "models"
CALIBRATIONS = "calibrations"
SOURCES = "sources"
RUNS = "runs"
INGESTS = "ingests"
QUARANTINE = "quarantine"
ATTEMPTS = "attempts"
MANIFEST = "manifest.json"
JOURNAL = "journal.json"
CLAIM = "claim.json"

ATTEMPT_NAME = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{12}")
SHARD_NAME = re.compile(r"(low|high|thumbnails|vectors)-\d{5,9}\.arrow|prompt\.arrow")
"""The only names a manifest may give: nothing in them can lead out of the index's folder."""

Part = Level | Literal["prompt"]
"""What a stored KV belongs to: a level of a chunk, or the prompt before the video."""

Attachment = Literal["thumbnails", "vectors"]
"""What may be kept of a chunk beside its KVs."""

ShardPart = Part | Attachment
"""What a shard holds."""


def new_attempt() -> str:
    """A name for one writer of an index. The time makes leftovers recognisable; the random part keeps writers apart."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(6)}"


def model(model_fingerprint: str) -> str:
    """The readable description of a model."""
    return f"{MODELS}/{model_fingerprint}.json"


def calibration(model_fingerprint: str) -> str:
    """What was found out about a model's settings."""
    return f"{CALIBRATIONS}/{model_fingerprint}.json"


def video(video_id: str) -> str:
    """The folder of all indexes of a video."""
    return f"{VIDEOS}/{video_id}"


def manifest(video_id: str, index_fp: str) -> str:
    """The manifest of an index, whose presence is its commit."""
    return f"{video(video_id)}/{index_fp}/{MANIFEST}"


def attempts(video_id: str, index_fp: str) -> str:
    """The folder of all writers of an index."""
    return f"{video(video_id)}/{index_fp}/{ATTEMPTS}"


def attempt(video_id: str, index_fp: str, attempt_id: str) -> str:
    """The folder of one writer's shards."""
    return f"{attempts(video_id, index_fp)}/{attempt_id}"


def journal(video_id: str, index_fp: str, attempt_id: str) -> str:
    """What of a writer's index is stored, until it is committed."""
    return f"{attempt(video_id, index_fp, attempt_id)}/{JOURNAL}"


def claim(video_id: str, index_fp: str, attempt_id: str) -> str:
    """Whether a writer's shards belong to others as well."""
    return f"{attempt(video_id, index_fp, attempt_id)}/{CLAIM}"


def shard(part: ShardPart, number: int) -> str:
    """A shard's file name inside its attempt. The prompt is a single KV, so it has no number."""
    return "prompt.arrow" if part == "prompt" else f"{part}-{number:05d}.arrow"


def catalog(video_id: str, index_fp: str) -> str:
    """The catalog's row of an index."""
    return f"{CATALOG}/{video_id}-{index_fp}.parquet"


def quarantine(video_id: str, index_fp: str) -> str:
    """Why this index of a video is not tried again."""
    return f"{QUARANTINE}/{video_id}-{index_fp}.json"


def ingest(job_id: str) -> str:
    """An ingest that was submitted to a service."""
    return f"{INGESTS}/{job_id}.json"


def source(url: str) -> str:
    """What is known of a video's URL. Hashed, because a URL may hold any character and be longer than a name may be."""
    return f"{SOURCES}/{hashlib.sha256(url.encode()).hexdigest()[:32]}.json"
