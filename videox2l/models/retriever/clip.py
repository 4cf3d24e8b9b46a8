"""Any CLIP or SigLIP of transformers as a retriever."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from transformers import AutoModel, AutoTokenizer, CLIPImageProcessorPil, SiglipImageProcessorPil
from transformers.utils import logging

from videox2l.errors import CheckpointError
from videox2l.identity import RetrieverIdentity, fingerprint, hash_file
from videox2l.models.retriever.pieces import pieces

# By model_type: what prepares images, without torchvision, and how texts are padded, as these models were trained.
_KINDS: dict[str, tuple[Any, str]] = {
    "clip": (CLIPImageProcessorPil, "longest"),
    "siglip": (SiglipImageProcessorPil, "max_length"),
}


class ClipRetriever:
    """Image vectors of up to four frames of a chunk, and the text vector of a question. Stateless."""

    def __init__(self, folder: Path, name: str, device: torch.device) -> None:
        """:raises CheckpointError: ``folder`` is no sound checkpoint of a CLIP or SigLIP."""
        self._device = device
        kind = check_kind(folder, name)
        if not list(folder.glob("*.safetensors")):
            raise CheckpointError(f"no *.safetensors in {folder}: weights in pickles (*.bin, *.pth) are not loaded")
        processor, self._padding = _KINDS[kind]
        shown = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()
        options = {"local_files_only": True, "trust_remote_code": False}
        try:
            network, info = AutoModel.from_pretrained(
                folder, use_safetensors=True, output_loading_info=True, dtype=torch.float32, **options
            )
            self._processor = processor.from_pretrained(folder, local_files_only=True)
            # A question is plain text, whatever control tokens it spells.
            self._tokenizer = AutoTokenizer.from_pretrained(folder, split_special_tokens=True, **options)
        except Exception as error:  # whatever a library of tokenizers raises
            raise CheckpointError(f"the retriever in {folder} cannot be loaded: {error}") from error
        finally:
            if shown:
                logging.enable_progress_bar()
        wrong = sorted(info["missing_keys"]) + sorted(map(str, info.get("mismatched_keys", ())))
        if wrong:
            raise CheckpointError(f"weights are missing in {folder}, or of another shape: {', '.join(wrong[:5])}")
        self._network = network.eval().requires_grad_(False).to(device)
        text = network.config.text_config
        self._length = int(text.max_position_embeddings)
        self.identity = RetrieverIdentity(name, folder_fingerprint(folder), _dimension(network))

    @torch.inference_mode()
    def of_chunk(self, frames_FHWC: np.ndarray, visual_tokens_TN: torch.Tensor) -> np.ndarray:  # noqa: ARG002
        images = [Image.fromarray(frame_HWC) for frame_HWC in pieces(frames_FHWC)]
        pixels = self._processor(images=images, return_tensors="pt")["pixel_values"].to(self._device)
        return _unit(self._network.get_image_features(pixel_values=pixels))

    @torch.inference_mode()
    def of_question(self, question: str) -> np.ndarray:
        inputs = self._tokenizer(
            question, padding=self._padding, truncation=True, max_length=self._length, return_tensors="pt"
        )
        given = {name: inputs[name].to(self._device) for name in ("input_ids", "attention_mask") if name in inputs}
        if self._padding == "max_length":
            given.pop("attention_mask", None)  # SigLIP was trained to see its padding
        return _unit(self._network.get_text_features(**given))[0]


def check_kind(folder: Path, name: str) -> str:
    """The checkpoint's ``model_type``.

    :raises CheckpointError: it is none of a CLIP or SigLIP.
    """
    kind = _model_type(folder)
    if kind not in _KINDS:
        raise CheckpointError(
            f"{name} is of model_type {kind!r} and no retriever: give a checkpoint of {' or '.join(_KINDS)}"
        )
    return kind


def folder_fingerprint(folder: Path) -> str:
    """Of a checkpoint's weights and settings: equal where its vectors can be compared."""
    files = sorted({*folder.glob("*.safetensors"), *folder.glob("*.json"), *folder.glob("*.txt")})
    return fingerprint({"retriever": 1, "files": {path.name: hash_file(path)[0] for path in files}})


def _unit(found: Any) -> np.ndarray:
    rows_ND: torch.Tensor = found if isinstance(found, torch.Tensor) else found.pooler_output
    unit: np.ndarray = F.normalize(rows_ND.float(), dim=-1).cpu().numpy()
    return unit


def _dimension(network: Any) -> int:
    config = network.config
    return int(getattr(config, "projection_dim", None) or config.vision_config.hidden_size)


def _model_type(folder: Path) -> str:
    path = folder / "config.json"
    try:
        return str(json.loads(path.read_text())["model_type"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} does not say what model it is: is this a checkpoint folder?") from error
