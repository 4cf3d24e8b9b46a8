"""``videox2l plan``: what questions cost, by the length of a video and the way they are answered."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli import options, output
from videox2l.errors import ConfigError

if TYPE_CHECKING:
    from pipelines.ingest.estimate import Calibration


def plan(
    model: options.Model = "tiny",
    hours: Annotated[
        list[float] | None, typer.Option(help="Length of a video; give it several times. Default: .25, .5, 1, 2, 4.")
    ] = None,
    questions: Annotated[int, typer.Option(help="Questions on each video while it is kept.", min=1)] = 20,
    months: Annotated[float, typer.Option(help="How long it is kept.", min=0)] = 1.0,
    top_k: Annotated[int, typer.Option(help="Chunks that a question re-loads in detail.", min=0)] = 2,
    resident: Annotated[
        bool, typer.Option("--resident", help="The gist is in memory already, as on a busy service.")
    ] = False,
    read_speed: Annotated[
        float, typer.Option(help="How fast KVs are read, in MB (10⁶ bytes) a second.", min=0.001)
    ] = 500.0,
    fps: options.Fps = 1.0,
    low_ratio: options.LowRatio = None,
    high_ratio: options.HighRatio = None,
    frames_per_chunk: options.FramesPerChunk = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    price_per_gb_month: Annotated[
        float, typer.Option(help="What storage costs, in dollars. Default: S3 Standard.", min=0)
    ] = 0.023,
    price_per_device_hour: Annotated[
        float | None, typer.Option(help="Price of the device. Default: 2.50 a GPU, 0.05 a CPU.", min=0)
    ] = None,
    save_times: Annotated[
        Path | None, typer.Option(help="Also write what was measured to this file, for --times.", metavar="FILE")
    ] = None,
    times: Annotated[
        Path | None,
        typer.Option(help="Measure nothing: take what --save-times has written, such as on a GPU.", metavar="FILE"),
    ] = None,
    plots: Annotated[Path | None, typer.Option(help="Also draw plots into this folder.", metavar="FOLDER")] = None,
    as_json: options.Json = False,
) -> None:
    """What a question costs, in seconds and dollars: directly, from all KVs, from the gist, and with Video-X²L.

    The model is loaded and measured on this machine for some seconds: its vision tower, passes over a chunk behind a
    short and a long memory, and answers of 16 tokens. The rest is arithmetic, so lengths need not fit the machine.

    `videox2l plan --model path/to/checkpoint --questions 100 --hours 1 --hours 3`

    `videox2l plan --resident --plots plots/`
    """
    from pipelines.ingest.estimate import Prices
    from pipelines.plan.report import tables, write_plots
    from pipelines.plan.ways import Case
    from pipelines.plan.ways import plan as plan_ways

    lengths = sorted(set(hours or (0.25, 0.5, 1, 2, 4)))
    if lengths[0] <= 0:
        raise ConfigError(f"--hours must be above 0, got {lengths[0]:g}")
    chosen = options.compression(model, low_ratio=low_ratio, high_ratio=high_ratio, frames_per_chunk=frames_per_chunk)
    facts, calibration = _read(times) if times is not None else _measure(model, chosen, device, dtype, fps, lengths[-1])
    if save_times is not None:
        document = {"model": facts, "times": dataclasses.asdict(calibration)}
        save_times.write_text(json.dumps(document, indent=1) + "\n")
    if chosen is None:
        from videox2l.models.registry import default_compression

        chosen = default_compression(model)
    case = Case(
        chosen,
        **facts,
        fps=fps,
        top_k=top_k,
        questions=questions,
        months=months,
        resident=resident,
        read_bytes_per_s=read_speed * 1e6,
    )
    rows = plan_ways(
        lengths, case, calibration.usual, Prices(price_per_gb_month, price_per_device_hour), calibration.device
    )
    if plots is not None:
        for path in write_plots(rows, plots):
            output.notes().print(f"wrote {path}", style="dim", soft_wrap=True, markup=False)
    if as_json:
        output.print_json([dataclasses.asdict(row) for row in rows])
        return
    output.console().print(tables(rows, case))


def _measure(
    model: str, compression: Any, device: str | None, dtype: str | None, fps: float, hours: float
) -> tuple[dict[str, int], Calibration]:
    from pipelines.ingest.calibration import measure
    from pipelines.ingest.estimate import HOUR_S
    from videox2l import load_model

    with output.notes().status("loading the model"):
        loaded = load_model(model, device=device, dtype=dtype)
    compression = compression or loaded.default_compression
    chunks = max(1, round(hours * HOUR_S * fps / compression.frames_per_chunk))
    with output.notes().status("measuring"):
        calibration = measure(loaded, compression, chunks, str(loaded.decoder.device))
    facts = {
        "tokens_per_frame": loaded.tokens_per_frame,
        "bytes_per_token": loaded.geometry.bytes_per_token,
        "context_length": loaded.context_length,
    }
    return facts, calibration


def _read(path: Path) -> tuple[dict[str, int], Calibration]:
    """:raises ConfigError: there are no times that were saved."""
    from pipelines.ingest.estimate import Calibration, Costs, Line

    try:
        document = json.loads(path.read_text())
        facts = {
            name: int(document["model"][name]) for name in ("tokens_per_frame", "bytes_per_token", "context_length")
        }
        saved = document["times"]

        def costs(name: str) -> Costs:
            given = saved[name]
            question, answer = (Line(**given[part]) for part in ("question", "answer"))
            frame_s, token_s, pair_s = (float(given[part]) for part in ("frame_s", "token_s", "pair_s"))
            return Costs(frame_s, token_s, pair_s, question, answer)

        calibration = Calibration(
            str(saved["device"]), costs("best"), costs("usual"), costs("worst"), int(saved["memory_tokens"])
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} has no times: write them with --save-times ({error!r})") from error
    return facts, calibration
