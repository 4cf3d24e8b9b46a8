"""Which packets of an H.264 stream no other picture is predicted from, so that decoding can leave them out.

Encoders make half or more of a film's pictures such ones (B-frames), and of those only the few that are looked at have
to be decoded. Every slice says it in two bits, ``nal_ref_idc`` (ITU-T H.264, 7.4.1): zero means that nothing refers to
the picture. FFmpeg's own switch for this (``skip_frame``) would drop pictures inside the decoder, where a dropped one
and a damaged one look alike.

H.265 says it only together with temporal layers, and VP9 and AV1 in headers that take a decoder to read: of those,
every packet is decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

_START_CODE = b"\0\0\1"

# NAL unit types that hold a part of a picture (7.4.1, table 7-1): slices, data partitions, slices of an IDR picture.
_PICTURE_TYPES = range(1, 6)


def disposable_packets(codec_context: Any) -> Callable[[Any], bool]:
    """A function that says of a packet whether no other picture needs it.

    ``codec_context`` (of PyAV) is that of the stream. A packet that cannot be made sense of counts as needed.
    """
    if codec_context.codec.canonical_name != "h264":
        return lambda _: False
    extradata = bytes(codec_context.extradata or b"")
    # An avcC record, as in MP4 and Matroska: units then have their length in front, of as many bytes as it says.
    if extradata[:1] == b"\1" and len(extradata) >= 5:
        length_bytes = (extradata[4] & 3) + 1
        return lambda packet: _unreferenced(_with_lengths(bytes(packet), length_bytes))
    return lambda packet: _unreferenced(_with_start_codes(bytes(packet)))


def _unreferenced(headers: Iterator[int]) -> bool:
    """Whether ``headers``, the first bytes of a packet's units, hold a picture that is no reference."""
    parts = [header >> 5 & 3 for header in headers if header & 31 in _PICTURE_TYPES]
    return bool(parts) and not any(parts)


def _with_lengths(data: bytes, length_bytes: int) -> Iterator[int]:
    start = 0
    while start + length_bytes < len(data):
        length = int.from_bytes(data[start : start + length_bytes], "big")
        start += length_bytes
        yield data[start]
        start += length


def _with_start_codes(data: bytes) -> Iterator[int]:
    start = data.find(_START_CODE)
    while 0 <= start < len(data) - len(_START_CODE):
        yield data[start + len(_START_CODE)]
        start = data.find(_START_CODE, start + len(_START_CODE))
