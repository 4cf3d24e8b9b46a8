"""A clip of hours in seconds: a short one's packets again and again, without encoding them anew."""

from __future__ import annotations

from pathlib import Path

import av


def repeat(source: Path, target: Path, times: int) -> None:
    """Write ``source`` ``times`` times in a row, as one file with time stamps that go on.

    ``source`` must begin with a keyframe at time 0 and have one video stream, as rendered clips do.
    """
    with av.open(str(target), "w") as out:
        stream = None
        offset = 0
        for _ in range(times):
            end = offset
            with av.open(str(source)) as container:
                if stream is None:
                    stream = out.add_stream_from_template(container.streams.video[0])
                for packet in container.demux(container.streams.video[0]):
                    if packet.pts is None or packet.dts is None:
                        continue  # the empty packet that ends a file
                    end = max(end, offset + packet.pts + (packet.duration or 0))
                    packet.pts, packet.dts = packet.pts + offset, packet.dts + offset
                    packet.stream = stream
                    out.mux(packet)
            offset = end
