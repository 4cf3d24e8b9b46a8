"""What a checkpoint says of its frames, as transformers' processors take it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from videox2l.errors import CheckpointError
from videox2l.models.plain.processing import load_processing

SETTINGS = {"size": {"height": 2, "width": 2}, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.5, 0.25, 0.2]}
MEAN_C, STD_C = torch.tensor(SETTINGS["image_mean"]), torch.tensor(SETTINGS["image_std"])
FRAMES_FHWC = torch.arange(12, dtype=torch.uint8).reshape(1, 2, 2, 3) * 20


def pixels(folder: Path, settings: dict[str, Any]) -> torch.Tensor:
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return load_processing(folder).pixels(FRAMES_FHWC)


@pytest.mark.parametrize(
    ("said", "expected_FHWC"),
    [
        ({}, (FRAMES_FHWC / 255 - MEAN_C) / STD_C),
        ({"do_normalize": True, "rescale_factor": 1 / 127.5}, (FRAMES_FHWC / 127.5 - MEAN_C) / STD_C),
        ({"do_normalize": False}, FRAMES_FHWC / 255),
        ({"do_rescale": False}, (FRAMES_FHWC - MEAN_C) / STD_C),
        ({"do_rescale": False, "do_normalize": False}, FRAMES_FHWC.float()),
    ],
)
def test_a_step_that_the_processor_leaves_out_is_left_out(
    tmp_path: Path, said: dict[str, Any], expected_FHWC: torch.Tensor
) -> None:
    torch.testing.assert_close(pixels(tmp_path, SETTINGS | said), expected_FHWC.permute(0, 3, 1, 2))


@pytest.mark.parametrize("said", [{"image_mean": None}, {"rescale_factor": None}, {"size": None}])
def test_what_it_does_not_say_is_no_default(tmp_path: Path, said: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match="cannot be used"):
        pixels(tmp_path, SETTINGS | said)
