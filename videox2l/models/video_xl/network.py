"""Video-XL's weights: transformers' own CLIP and Qwen2, a projector between them, and the VSTs."""

from __future__ import annotations

from functools import cache

import torch
from torch import nn
from transformers import CLIPVisionModel, Qwen2ForCausalLM

from videox2l.models.transfer import to_device
from videox2l.models.video_xl.configuration import CLIP_MEAN, CLIP_STD, VideoXLConfig
from videox2l.models.video_xl.vst import VSTs

# Frames that go through the vision tower at once: bounds its activations (576 patches a frame) at no cost in speed.
VISION_BATCH_FRAMES = 16


class VideoXLNetwork(nn.Module):
    """The modules; how they are run on a video is ``prefill.py``'s business."""

    def __init__(self, config: VideoXLConfig) -> None:
        super().__init__()
        if config.vision is None:
            raise ValueError("a VideoXLNetwork needs a vision configuration")
        self.config = config
        self.language_model = Qwen2ForCausalLM(config.text)
        self.vst = VSTs(config.text)
        self.vision_tower = CLIPVisionModel(config.vision)
        self.projector = nn.Sequential(
            nn.Linear(config.vision.hidden_size, config.text.hidden_size),
            nn.GELU(),
            nn.Linear(config.text.hidden_size, config.text.hidden_size),
        )

    def visual_tokens(self, frames_FHWC: torch.Tensor) -> torch.Tensor:
        """``[F, H, W, 3]`` uint8 RGB frames → ``[F * tokens_per_frame, hidden]``, frame by frame, row-major."""
        frames_FHWC = to_device(frames_FHWC, next(self.projector.parameters()).device)
        batches = [self._encode(batch) for batch in frames_FHWC.split(VISION_BATCH_FRAMES)]
        return torch.cat(batches).flatten(0, 1)

    def _encode(self, frames_FHWC: torch.Tensor) -> torch.Tensor:
        mean_C, std_C = _pixel_statistics(frames_FHWC.device)
        pixels_FHWC = (frames_FHWC.float() / 255 - mean_C) / std_C
        pixels_FCHW = pixels_FHWC.permute(0, 3, 1, 2).to(next(self.projector.parameters()))
        hidden = self.vision_tower(pixels_FCHW, output_hidden_states=True).hidden_states[self.config.vision_layer]
        features_FPN = self.projector(hidden[:, 1:])  # row 0 is the class token
        side = int(features_FPN.shape[1] ** 0.5)
        grid_FNHW = features_FPN.transpose(1, 2).unflatten(2, (side, side))
        pooled_FNHW = nn.functional.avg_pool2d(grid_FNHW, self.config.pool_stride)
        return pooled_FNHW.flatten(2).transpose(1, 2)


@cache  # made anew for every batch, each would be a copy that the GPU's queue waits for
@torch.inference_mode(False)
def _pixel_statistics(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor(CLIP_MEAN, device=device), torch.tensor(CLIP_STD, device=device)
