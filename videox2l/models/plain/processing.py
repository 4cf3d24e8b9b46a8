"""A checkpoint's tokenizer and what its video processor does to frames, read from their files.

transformers' own video processors need torchvision, whose one step that matters here, since frames are decoded straight
to the size that a model wants, is to normalise pixels.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from videox2l.errors import CheckpointError, ConfigError
from videox2l.video.frames import FrameFormat

# Where releases of transformers have put a video processor's settings, newest first; images' stand in for them.
_FILES = (
    ("processor_config.json", "video_processor"),
    ("video_preprocessor_config.json", None),
    ("preprocessor_config.json", None),
)


DEFAULT_UNITS = (16, 9)
"""Width and height of frames in visual tokens, for models that take any size: 16 : 9, as most videos are. 144 tokens a
frame are within what Qwen's own processors give one (128 to 768)."""


@dataclass(frozen=True)
class FrameProcessing:
    """Frames of ``frame_format`` to pixel values: ``(pixel * scale - mean) / std`` by colour channel."""

    frame_format: FrameFormat
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def pixels(self, frames_FHWC: torch.Tensor) -> torch.Tensor:
        """uint8 RGB ``[F, H, W, 3]`` → float32 ``[F, 3, H, W]``."""
        mean_C, std_C = frames_FHWC.new_tensor(self.mean, dtype=torch.float32), torch.tensor(self.std)
        # Means and deviations are brought to the pixels' scale, as transformers does it: the same rounding.
        scaled = (frames_FHWC.float() - mean_C / self.scale) / (std_C.to(mean_C) / self.scale)
        return scaled.permute(0, 3, 1, 2)


def load_processing(folder: Path, size: str = "") -> FrameProcessing:
    """How the checkpoint in ``folder`` wants its frames; ``size`` is the setting of that name.

    :raises CheckpointError: it does not say.
    :raises ConfigError: it does not take frames of that size.
    """
    raw = _settings(folder)
    rescaled, normalised = (raw.get(name) is not False for name in ("do_rescale", "do_normalize"))
    try:
        return FrameProcessing(
            _frame_format(raw, size),
            float(raw.get("rescale_factor", 1 / 255)) if rescaled else 1.0,
            tuple(map(float, raw["image_mean"])) if normalised else (0.0,) * 3,
            tuple(map(float, raw["image_std"])) if normalised else (1.0,) * 3,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"the video processor's settings in {folder} cannot be used: {error!r}") from error


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer in ``folder``, for which control tokens in a text are text.

    :raises CheckpointError: there is none, or none with a chat template.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, split_special_tokens=True
        )
    except Exception as error:  # whatever a library of tokenizers raises
        raise CheckpointError(
            f"no usable tokenizer in {folder}: it needs the published model's tokenizer files ({error})"
        ) from error
    if not tokenizer.chat_template:
        tokenizer.chat_template = _older_template(folder)
    return tokenizer


def _older_template(folder: Path) -> str:
    path = folder / "chat_template.json"
    try:
        template: str = json.loads(path.read_text())["chat_template"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"no chat template in {folder}: it needs chat_template.jinja or .json") from error
    return template


def _settings(folder: Path) -> dict[str, Any]:
    for name, key in _FILES:
        try:
            raw = json.loads((folder / name).read_text())
            found = raw if key is None else raw[key]
        except FileNotFoundError:
            continue
        except KeyError:
            continue
        except (OSError, ValueError, TypeError) as error:
            raise CheckpointError(f"{folder / name} cannot be read as a JSON object: {error}") from error
        if isinstance(found, dict):
            return found
    names = ", ".join(name for name, _ in _FILES)
    raise CheckpointError(f"no processor in {folder}: it needs one of {names}, as the published model has")


def _frame_format(raw: dict[str, Any], chosen: str) -> FrameFormat:
    if "merge_size" in raw:
        return _free_format(int(raw["patch_size"]) * int(raw["merge_size"]), chosen)
    if chosen:
        raise ConfigError("size is for models that take frames of any size (Qwen-VL); this one has a size of its own")
    size, crop = raw["size"], raw.get("crop_size")
    if "max_image_size" in raw:  # SmolVLM's frames are squeezed into a square
        side = int(raw["max_image_size"]["longest_edge"])
        return FrameFormat(side, side, "stretch")
    if raw.get("do_center_crop") and crop:
        return FrameFormat(int(crop["height"]), int(crop["width"]), "crop")
    if "shortest_edge" in size:  # both sides, as frames of one size are wanted
        return FrameFormat(int(size["shortest_edge"]), int(size["shortest_edge"]), "crop")
    return FrameFormat(int(size["height"]), int(size["width"]), "stretch")


def _free_format(unit: int, chosen: str) -> FrameFormat:
    """``unit``: pixels of a visual token's side."""
    if not chosen:
        return FrameFormat(unit * DEFAULT_UNITS[1], unit * DEFAULT_UNITS[0], "stretch")
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", chosen)
    width, height = map(int, found.groups()) if found else (0, 0)
    if not width or not height or width % unit or height % unit:
        raise ConfigError(f"size must be WIDTHxHEIGHT in multiples of {unit} pixels for this model, got {chosen!r}")
    return FrameFormat(height, width, "stretch")
