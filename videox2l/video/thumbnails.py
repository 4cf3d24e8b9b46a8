"""One small picture of a few seconds of video, for people to know them by."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

# Pixels of the longer side. Six fit beside one another on a telephone, and none is more than a few kilobytes.
_LONGER_SIDE = 160

# Of 95. Below this, blocks are seen at this size; above it, only files grow.
_QUALITY = 70


def thumbnail(frames_FHWC: np.ndarray) -> bytes:
    """The middle one of frames, uint8 RGB [frames, height, width, 3], as a small JPEG; smaller ones keep their size."""
    image = Image.fromarray(frames_FHWC[len(frames_FHWC) // 2])
    image.thumbnail((_LONGER_SIDE, _LONGER_SIDE))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()
