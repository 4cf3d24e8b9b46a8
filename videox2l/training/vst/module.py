"""The part of a network that is trained, with the loss as its forward; what DeepSpeed wraps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import nn

from videox2l.models.video_xl.network import VideoXLNetwork
from videox2l.training.parallel_prefill import answer_logits, prefill
from videox2l.training.vst.chunks import plan_uneven_chunks
from videox2l.training.vst.settings import VSTSettings


class VSTModule(nn.Module):
    """Language model and VSTs of a network, without its vision.

    Vision stays outside for ZeRO-3's sake: its workers must call the same modules equally often, and how many batches
    of frames go through the vision tower depends on a video's length.
    """

    def __init__(self, network: VideoXLNetwork) -> None:
        super().__init__()
        self.language_model = network.language_model
        self.vst = network.vst

    def forward(
        self,
        prompt_P: torch.Tensor,
        visual_CWN: torch.Tensor,
        raw_tokens: Sequence[int],
        ratios: Sequence[int],
        ids_BJT: torch.Tensor,
        wanted_BJT: torch.Tensor,
        targets_X: torch.Tensor,
    ) -> torch.Tensor:
        """Cross entropy, summed over the answers' tokens, of questions about one video compressed at ``ratios``.

        ``visual_CWN``: visual tokens, padded to the longest chunk; chunk ``c`` has ``raw_tokens[c]``.
        """
        network = cast("VideoXLNetwork", self)  # it has all that the functions below ask of one
        with torch.device(visual_CWN.device):  # they make their positions and masks on the default device
            plan = plan_uneven_chunks(raw_tokens, ratios, len(prompt_P))
            visual_BCWN = visual_CWN[None].to(self.vst.embedding.weight.dtype)
            memories = prefill(network, prompt_P, visual_BCWN, plan)
            logits = answer_logits(network, memories, plan.end, ids_BJT, wanted_BJT)
        return nn.functional.cross_entropy(logits.float(), targets_X, reduction="sum")


def choose_trained(module: VSTModule, settings: VSTSettings) -> dict[str, nn.Parameter]:
    """Let ``settings.trained`` weights learn and no others; returns them by name.

    The last layer's query projection of VSTs never learns: nothing reads what VSTs would ask there.
    """
    unread = f"vst.layers.{len(module.vst.layers) - 1}.q_proj."
    module.requires_grad_(False)
    chosen = {
        name: parameter
        for name, parameter in module.named_parameters()
        if not name.startswith(unread) and (settings.trained == "all" or name.startswith("vst."))
    }
    for parameter in chosen.values():
        parameter.requires_grad_(True)
    return chosen


def make_optimizer(trained: dict[str, nn.Parameter], settings: VSTSettings) -> torch.optim.AdamW:
    """AdamW with a group for VSTs and, where it learns, one for the language model; ``peak`` is a group's full rate."""
    rates = {"vst.": settings.learning_rate, "language_model.": settings.language_learning_rate}
    groups = [
        {"params": [p for name, p in trained.items() if name.startswith(part)], "lr": rate, "peak": rate}
        for part, rate in rates.items()
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], betas=settings.betas, weight_decay=settings.weight_decay
    )
