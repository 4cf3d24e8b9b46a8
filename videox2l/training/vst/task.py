"""What the steps of a run consist of. The plain loop and all workers of a cluster ask here, and get the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from videox2l.errors import VideoError
from videox2l.identity import hash_file
from videox2l.models.registry import find_checkpoint
from videox2l.models.video_xl.model import identify, load_tokenizer
from videox2l.models.video_xl.network import VideoXLNetwork
from videox2l.models.video_xl.prompt import prefix_ids
from videox2l.training.vst.examples import AnswerTokens, Example, answer_tokens, example_at, read_examples
from videox2l.training.vst.frames import Frames
from videox2l.training.vst.module import VSTModule
from videox2l.training.vst.settings import VSTSettings
from videox2l.training.vst.start import load_start


@dataclass(frozen=True)
class Item:
    """One example of a step. ``position``: its place in the run, from which its ratios follow."""

    position: int
    example: Example
    tokens: AnswerTokens


class VSTTask:
    """Examples, their order, ratios and loss. Everything random follows from the seed and an example's position.

    So a run needs no random state to go on, and workers need no word from each other to know their share.
    """

    def __init__(
        self,
        network: VideoXLNetwork,
        tokenizer: Any,
        examples: Sequence[Example],
        settings: VSTSettings,
        *,
        device: torch.device,
        on_skip: Callable[[str], None] | None = None,
    ) -> None:
        # Only vision: where the rest goes is the engine's business, which may share it out.
        network.vision_tower.to(device)
        network.projector.to(device)
        self.network, self.settings, self._device = network, settings, device
        self._tokenizer, self._examples, self._on_skip = tokenizer, examples, on_skip
        self._prompt_P = torch.tensor(prefix_ids(tokenizer), device=device)
        self._skipped: set[str] = set()
        frames_per_chunk = settings.frames_per_chunk or network.config.compression.frames_per_chunk
        self._frames = Frames(settings.sampling, frames_per_chunk, network.config.frame_format)

    def batch(self, seen: int) -> list[Item]:
        """The examples of the step that begins when ``seen`` examples have been learned from."""
        items = []
        for position in range(seen, seen + self.settings.batch):
            example = example_at(self._examples, position, self.settings.seed)
            items.append(Item(position, example, answer_tokens(self._tokenizer, example)))
        return items

    def prefetch(self, item: Item) -> None:
        """Begin to decode an example's video."""
        if item.example.video not in self._skipped:
            self._frames.prefetch(item.example.video)

    def loss(self, module: torch.nn.Module, item: Item) -> torch.Tensor:
        """Cross entropy of an example, summed over its answers' tokens, through ``module``.

        :raises VideoError: the video cannot be used, and the settings do not say to skip it.
        """
        chunks = self._chunks(item.example.video)
        visual, raw_tokens = self._visual_tokens(chunks or [self._black_frame()])
        arguments = (self._prompt_P, visual, raw_tokens, self.ratios(item.position, len(raw_tokens)))
        tokens = (item.tokens.ids_BJT, item.tokens.wanted_BJT, item.tokens.targets_X)
        loss: torch.Tensor = module(*arguments, *(tensor.to(self._device) for tensor in tokens))
        # A skipped video still goes through the module, as the other workers of ZeRO-3 wait for it there.
        return loss if chunks else loss * 0.0

    def ratios(self, position: int, chunks: int) -> tuple[int, ...]:
        """The ratio of each chunk of the example at ``position``."""
        rng = np.random.default_rng([self.settings.seed, 2, position])
        return tuple(int(ratio) for ratio in rng.choice(self.settings.ratios, size=chunks))

    def close(self) -> None:
        """Stop decoding."""
        self._frames.close()

    def _chunks(self, video: str) -> list[np.ndarray]:
        """Frames by chunk; none of a video that is skipped."""
        if video in self._skipped:
            return []
        try:
            return self._frames.get(video)
        except VideoError as error:
            if self.settings.broken_videos == "stop":
                raise type(error)(
                    f"{error}\nTraining stopped there. Repair the video, or skip broken ones (--skip-broken) in a run "
                    "of its own."
                ) from error
            self._skipped.add(video)
            if self._on_skip is not None:
                self._on_skip(str(error))
            return []

    @torch.no_grad()
    def _visual_tokens(self, chunks: Sequence[np.ndarray]) -> tuple[torch.Tensor, tuple[int, ...]]:
        """Visual tokens [C, W, N], padded with zeros, and each chunk's number of them."""
        per_frame = self.network.config.tokens_per_frame
        visual_TN = self.network.visual_tokens(torch.from_numpy(np.concatenate(chunks)))
        raw_tokens = tuple(len(chunk) * per_frame for chunk in chunks)
        return torch.nn.utils.rnn.pad_sequence(visual_TN.split(raw_tokens), batch_first=True), raw_tokens

    def _black_frame(self) -> np.ndarray:
        fmt = self.network.config.frame_format
        return np.zeros((1, fmt.height, fmt.width, 3), dtype=np.uint8)


@dataclass(frozen=True)
class VSTJob:
    """A run as it is asked for: which model, which list of examples, which settings. Plain data that travels."""

    model: str
    data: str
    settings: VSTSettings

    def examples(self) -> list[Example]:
        """The examples of the list. :raises ConfigError: see :func:`read_examples`."""
        return read_examples(self.data, self.settings.questions)

    def task(
        self, device: torch.device, dtype: torch.dtype = torch.float32, on_skip: Callable[[str], None] | None = None
    ) -> tuple[VSTTask, VSTModule]:
        """What is learned, and the module that learns it, freshly loaded and on the CPU still."""
        folder = find_checkpoint(self.model)
        tokenizer = load_tokenizer(folder)
        network = load_start(folder, tokenizer, self.settings.start, dtype=dtype, device=torch.device("cpu"))
        task = VSTTask(network, tokenizer, self.examples(), self.settings, device=device, on_skip=on_skip)
        return task, VSTModule(network)

    def document(self) -> dict[str, Any]:
        """What decides a run's result, as plain JSON types: model and data by content, and the settings.

        :raises ConfigError: the list is wrong.
        """
        self.examples()
        folder = find_checkpoint(self.model)
        return {
            "model": identify(folder, torch.float32).document["files"],
            "data": hash_file(self.data)[0],  # of the videos in the list only the names count
            "settings": dataclasses.asdict(self.settings),
        }
