"""Log lines of workers say which video they are about."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import ray

from pipelines.ingest import IngestSettings, ingest
from tests.ray.talking import talking
from videox2l.config import CompressionConfig, SamplingConfig


def test_every_line_of_a_worker_names_its_video(
    ray_cluster: None, random_checkpoint: Path, clips: Path, tmp_path: Path
) -> None:
    names = {"one video.mp4": "025.mp4", "another.mp4": "065.mp4"}
    for name, clip in names.items():
        (tmp_path / name).symlink_to(clips / clip)
    (tmp_path / "bad.mp4").write_text("not a video")
    compression, sampling = CompressionConfig(2, 8, 10), SamplingConfig(fps=10)
    settings = IngestSettings(str(random_checkpoint), "cpu", sampling=sampling, compression=compression)
    sources = [tmp_path / name for name in (*names, "bad.mp4")]
    summary = ingest(sources, tmp_path / "archive", settings, decoder=talking)
    assert [row.status for row in summary.rows] == ["committed", "committed", "failed"], summary.rows

    logs = worker_logs()
    for row in summary.rows[:2]:
        decoded = [line for line in logs if f"[{row.name}] " in line]
        for chunk in range(row.chunks):
            assert any(line.endswith(f"videox2l.video [{row.name}] our chunk {chunk}") for line in decoded)
            assert any(line.endswith(f"WARNING some.library [{row.name}] their chunk {chunk}") for line in decoded)
            assert any(f"python warns of {row.source} at chunk {chunk}" in line for line in decoded)
        prefilled = [line for line in logs if f"[{row.name} {row.video_id[:12]}] " in line]
        assert any(f"committed {row.name}: " in line for line in prefilled)
    assert not any("chatter" in line for line in logs)
    assert not any(re.search(r"\[-\] .*chunk \d", line) for line in logs)


def worker_logs() -> list[str]:
    """What the session's workers have written to standard error."""
    folder = Path(ray._private.worker.global_worker.node.get_logs_dir_path())
    return [line for file in folder.glob("worker-*.err") for line in file.read_text(errors="replace").splitlines()]


def test_decoding_processes_stay_light() -> None:
    """What wraps a decoder is imported with it."""
    code = "import sys, pipelines.ingest.logs; sys.exit('torch' in sys.modules or 'ray' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
