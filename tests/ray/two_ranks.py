"""A run on DeepSpeed in two processes without Ray: ``python -m tests.ray.two_ranks FOLDER RANK``, once for each rank.

FOLDER holds ``runs.pickle``: the job, and for each run its folder, DeepSpeed settings and steps before it stops.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import torch
from torch import distributed

from pipelines.train.engine import DeepSpeedEngine
from videox2l.training.vst.loop import run_steps
from videox2l.training.vst.state import RunFolder


def main(folder: Path, rank: int) -> None:
    torch.set_num_threads(1)
    job, runs = pickle.loads((folder / "runs.pickle").read_bytes())
    distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    device = torch.device("cpu")
    for work, deepspeed, stop_after in runs:
        task, module = job.task(device)
        target = RunFolder(work)
        state = target.load()
        steps = iter(range(1, job.settings.steps + 1))
        engine = DeepSpeedEngine(module, job.settings, state, deepspeed, device)
        run_steps(task, engine, target, state, should_stop=lambda steps=steps, last=stop_after: next(steps) == last)
        distributed.barrier()  # the next run of one rank must not load before the other has saved
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
