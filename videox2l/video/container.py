"""Opening a video file: one place where a path or URL becomes a container and a stream, or one clear error."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from videox2l.errors import NoVideoStreamError, UnreadableVideoError, VideoError
from videox2l.identity import file_system

Source = str | os.PathLike[str]
"""A local path, or a URL that fsspec can open with random access (``s3://…``, ``memory://…``)."""

# Of a remote file, blocks are fetched as they are needed and the latest kept (16 MiB): containers are read front to
# back in a few places at once (pictures, sound, table of contents). Reading ahead by more than a block, as fsspec does
# by itself, reads a file two to four times. 1 MiB takes longer to come than to be asked for (10 ms at 100 MB/s).
_REMOTE_READS: dict[str, Any] = {
    "cache_type": "blockcache",
    "block_size": 2**20,
    "cache_options": {"maxblocks": 16},
}

# What fsspec says, in a ValueError, of such a web server.
_NO_RANGES = "support range requests"

_REPAIR = "Copy or download the file again; what is left of it can be saved with `ffmpeg -i FILE -c copy NEW.mkv`."

# Formats that store a decoding order and a frame rate but no presentation times.
_FORMATS_WITHOUT_PTS = frozenset({"avi"})
# FFmpeg reads a plain text file as ANSI art, and a playlist as whatever other files it names. Neither is a video file.
_FORMATS_REFUSED = frozenset({"tty", "hls", "concat", "dash", "sdp", "imf"})


@dataclass(frozen=True)
class OpenVideo:
    """An open container and its video stream. ``name`` is what error messages call the source."""

    name: str
    container: Any
    stream: Any

    @property
    def time_base(self) -> Fraction:
        """Seconds per unit of the stream's time stamps."""
        return Fraction(self.stream.time_base)

    @property
    def pixel_aspect(self) -> Fraction:
        """Width over height of a stored pixel when displayed; 1 where the file does not say."""
        return Fraction(self.stream.sample_aspect_ratio or 1)

    @property
    def stores_presentation_times(self) -> bool:
        """Whether a packet's time stamp is that of the picture in it.

        An AVI file counts packets in decoding order only: with B-frames, times then follow from the order of output.
        """
        reordered = self.stream.codec_context.has_b_frames
        return not (reordered and self.container.format.name in _FORMATS_WITHOUT_PTS)

    def stamp(self, packet: Any) -> Any:
        """The time stamp by which the index and the decoder know ``packet``: int in units of ``time_base``, or None."""
        return packet.pts if self.stores_presentation_times else packet.dts


@contextmanager
def open_video(source: Source) -> Iterator[OpenVideo]:
    """Open ``source`` for reading and close it whatever happens.

    Raises:
        UnreadableVideoError: missing, empty, a folder, not permitted, or not a video file.
        NoVideoStreamError: the file holds no moving pictures.
    """
    name = os.fspath(source)
    with ExitStack() as stack:
        # "file:" keeps FFmpeg from reading a protocol into an odd file name, and the whitelist keeps a file from
        # sending it to the network.
        path = _local_path(name)
        target = stack.enter_context(_open_remote(name)) if path is None else f"file:{_checked(path)}"
        try:
            container = av.open(
                target, metadata_errors="replace", container_options={"protocol_whitelist": "file"}, mode="r"
            )
        except (av.FFmpegError, OSError, ValueError) as error:
            raise UnreadableVideoError(_not_a_video(name, error)) from error
        stack.enter_context(container)
        if container.format.name in _FORMATS_REFUSED:
            raise UnreadableVideoError(f"{name} is not a video file (it reads as {container.format.name!r})")
        yield OpenVideo(name, container, _video_stream(name, container))


@contextmanager
def reading(name: str, error_type: type[VideoError] = UnreadableVideoError) -> Iterator[None]:
    """Turn what a decoder or file system raises while ``name`` is read into a :class:`VideoError`."""
    try:
        yield
    except (av.FFmpegError, OSError, ValueError) as error:
        if _NO_RANGES in str(error):
            raise UnreadableVideoError(_whole_only(name)) from error
        raise error_type(f"cannot read {name} to its end: {_reason(error)}. {_REPAIR}") from error


def truncated(name: str, what: str) -> str:
    """The message for a file of which a part is missing."""
    return f"{name} is truncated or damaged: {what}. {_REPAIR}"


def _local_path(name: str) -> Path | None:
    if name.startswith("file://"):
        return Path(name.removeprefix("file://"))
    return None if "://" in name else Path(name)


def _checked(path: Path) -> Path:
    """``path`` if there is a file with something in it; FFmpeg's own messages for the other cases are obscure."""
    if not path.exists():
        raise UnreadableVideoError(f"there is no file {path}; check the path")
    if path.is_dir():
        raise UnreadableVideoError(f"{path} is a folder; give one of the video files in it")
    if path.is_file() and path.stat().st_size == 0:
        raise UnreadableVideoError(f"{path} is empty (0 bytes); copy or download it again")
    return path


def _open_remote(url: str) -> Any:
    try:
        filesystem, path = file_system(url)
        return filesystem.open(path, "rb", **_REMOTE_READS)
    except FileNotFoundError as error:
        raise UnreadableVideoError(f"there is no file {url}; check the URL") from error
    except (ImportError, ValueError) as error:  # A protocol that fsspec does not know or has no driver for.
        raise UnreadableVideoError(f"cannot open {url}: {error}") from error
    except OSError as error:
        raise UnreadableVideoError(f"cannot open {url}: {_reason(error)}; check the address and credentials") from error


def _video_stream(name: str, container: Any) -> Any:
    # Cover art of a music file is a video stream with one picture.
    moving = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    if not moving:
        found = ", ".join(sorted({stream.type for stream in container.streams})) or "no streams"
        raise NoVideoStreamError(f"{name} has no video stream (found: {found}); give a file with moving pictures")
    best = container.streams.best("video")
    stream = best if best in moving else moving[0]
    if stream.codec_context is None:
        raise UnreadableVideoError(f"there is no decoder for the video in {name}; convert it to H.264, VP9 or AV1")
    return stream


def _not_a_video(name: str, error: Exception) -> str:
    if isinstance(error, PermissionError):
        return f"{name} may not be read: permission denied"
    if _NO_RANGES in str(error):
        return _whole_only(name)
    return (
        f"{name} cannot be opened as a video: {_reason(error)}. Either it is not a video file, or its beginning or its "
        f"table of contents is missing, as in an unfinished download or recording"
    )


def _whole_only(name: str) -> str:
    return f"{name}: its web server sends files only whole, not in parts; copy the file here or to object storage"


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
