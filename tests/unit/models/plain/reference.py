"""What transformers' own processors would hand to a stock model for a video and a question."""

from __future__ import annotations

import torch
from transformers import AutoTokenizer, CLIPImageProcessorPil, Qwen2VLImageProcessorPil

from tests.interleaved_checkpoints import expanded_ids
from videox2l.models import Timeline
from videox2l.models.plain.model import PlainModel

FPS = 4.0
"""Frames a second of the tests' videos where positions are three numbers: short enough for the small pictures."""


def timeline(model: PlainModel, frames: int) -> Timeline:
    """For other models a frame in 16 seconds, so that even ten take minutes."""
    return Timeline.steady(frames, FPS if model.three_positions else 1 / 16)


def whole_video(model: PlainModel, frames_FHWC: torch.Tensor, question: str) -> dict[str, torch.Tensor]:
    """Arguments of ``generate``."""
    network = model.network
    processing = model.processing
    pixels_FCHW = CLIPImageProcessorPil(
        do_resize=False, do_center_crop=False, image_mean=processing.mean, image_std=processing.std
    )(list(frames_FHWC.numpy()), return_tensors="pt")["pixel_values"]
    if network.config.model_type in ("internvl", "smolvlm"):
        expanded = torch.tensor([expanded_ids(model, question, timeline(model, len(frames_FHWC)))])
        return {
            "input_ids": expanded,
            "pixel_values": pixels_FCHW if network.config.model_type == "internvl" else pixels_FCHW[None],
        }
    if "qwen" not in network.config.model_type:
        places = len(frames_FHWC) * model.tokens_per_frame + len(model.rows_behind)
        all_ids = [*model.prompt_ids(None), *[network.config.video_token_id] * places, *model.question_ids(question)]
        return {"input_ids": torch.tensor([all_ids]), "pixel_values_videos": pixels_FCHW[None]}
    patches_PX, grid_V3 = _pairs(pixels_FCHW, model)
    rows_and_columns = int(grid_V3[0, 1:].prod())
    if network.config.model_type == "qwen3_vl":
        step = "<|vision_start|>" + "<video>" * (rows_and_columns // 4) + "<|vision_end|>"
        last = len(frames_FHWC) - 1
        video = "".join(
            f"<{(2 * pair + min(2 * pair + 1, last)) / 2 / FPS:.1f} seconds>{step}"
            for pair in range(int(grid_V3[0, 0]))
        )
    else:
        video = "<video>" * (len(patches_PX) // 4)
    reading = AutoTokenizer.from_pretrained(model.tokenizer.name_or_path)  # control tokens too
    asked = {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": question}]}
    text = reading.apply_chat_template([asked], add_generation_prompt=True, tokenize=False).replace("<video>", video)
    all_ids = torch.tensor([reading(text, add_special_tokens=False)["input_ids"]])
    return {
        "input_ids": all_ids,
        "pixel_values_videos": patches_PX,
        "video_grid_thw": grid_V3,
        "mm_token_type_ids": 2 * (all_ids == network.config.video_token_id).int(),
        **({"second_per_grid_ts": torch.tensor([2 / FPS])} if network.config.model_type == "qwen2_5_vl" else {}),
    }


def _pairs(pixels_FCHW: torch.Tensor, model: PlainModel) -> tuple[torch.Tensor, torch.Tensor]:
    """Patches of pairs of frames, by transformers' patches of single ones."""
    patch, merge = model.network.config.vision_config.patch_size, 2
    if len(pixels_FCHW) % 2:
        pixels_FCHW = torch.cat([pixels_FCHW, pixels_FCHW[-1:]])
    processor = Qwen2VLImageProcessorPil()
    single = [processor.patchify(frame.numpy(), patch, merge, 1) for frame in pixels_FCHW]
    _, rows, columns = single[0]
    found = [torch.from_numpy(flat.copy()).view(-1, 3, 1, patch, patch) for flat, _, _ in single]
    pairs = [torch.cat(pair, dim=2).flatten(1) for pair in zip(found[::2], found[1::2], strict=True)]
    return torch.cat(pairs), torch.tensor([[len(pairs), rows, columns]])
