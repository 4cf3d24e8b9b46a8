"""Small random checkpoints of video models that write text around every frame, and what processors make of one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from transformers import (
    AutoTokenizer,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    InternVLVisionConfig,
    LlamaConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMProcessor,
    SmolVLMVisionConfig,
)
from transformers.models.smolvlm.processing_smolvlm import DEFAULT_CHAT_TEMPLATE
from transformers.video_utils import VideoMetadata

from tests.checkpoints import byte_tokenizer
from videox2l.models import Timeline
from videox2l.models.registry import find_checkpoint

# In the manner of InternVL3's.
_INTERNVL_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}{% if part['type'] == 'video' %}<video>\n"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

# 4 × 4 patches of 32 × 32 pixels, of which 2 × 2 become one token.
_VISION: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}
TOKENS_PER_FRAME = 4

_MEAN_STD = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}


def internvl(
    text: dict[str, Any], language: type[Qwen2Config | Qwen3Config] = Qwen2Config
) -> tuple[Any, PreTrainedTokenizerFast, dict[str, Any]]:
    """Network, tokenizer and video processor's settings; ``text`` is the language model's sizes."""
    tokenizer = byte_tokenizer(
        {
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        }
    )
    tokenizer.chat_template = _INTERNVL_TEMPLATE
    # As published, the word for a video has no row in the model.
    assert tokenizer.convert_tokens_to_ids("<video>") == len(tokenizer) - 1
    config = InternVLConfig(
        text_config=language(**text, vocab_size=len(tokenizer) - 1),
        vision_config=InternVLVisionConfig(**_VISION),
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=TOKENS_PER_FRAME,
        tie_word_embeddings=False,
    )
    settings = {"size": {"height": 32, "width": 32}, **_MEAN_STD}
    return InternVLForConditionalGeneration(config), tokenizer, settings


def smolvlm(text: dict[str, Any]) -> tuple[Any, PreTrainedTokenizerFast, dict[str, Any]]:
    """As :func:`internvl`."""
    tokenizer = byte_tokenizer()
    words = ["<fake_token_around_image>", "<image>", "<global-img>", "<end_of_utterance>"]
    tokenizer.add_special_tokens({"additional_special_tokens": words, "eos_token": "<end_of_utterance>"})
    tokenizer.chat_template = DEFAULT_CHAT_TEMPLATE
    config = SmolVLMConfig(
        text_config=LlamaConfig(**text, vocab_size=len(tokenizer), pad_token_id=0),
        vision_config=SmolVLMVisionConfig(**_VISION),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=0,
    )
    settings = {
        "size": {"longest_edge": 64},
        "max_image_size": {"longest_edge": 32},
        "video_sampling": {"fps": 1, "max_frames": 64, "video_size": {"longest_edge": 32}},
        **_MEAN_STD,
    }
    return SmolVLMForConditionalGeneration(config), tokenizer, settings


def expanded_ids(model: Any, question: str, timeline: Timeline) -> list[int]:
    """Token ids of the whole prompt as transformers' own processor of the model's family expands the video.

    Its method is called without the processor around it, whose video processor needs torchvision.
    """
    tokenizer = AutoTokenizer.from_pretrained(find_checkpoint(model.name))
    frames = len(timeline.times_s)
    asked = {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": question}]}
    text = tokenizer.apply_chat_template([asked], add_generation_prompt=True, tokenize=False)
    if model.network.config.model_type == "internvl":
        owner = SimpleNamespace(
            start_image_token="<img>",
            end_image_token="</img>",
            image_token="<IMG_CONTEXT>",
            image_seq_length=TOKENS_PER_FRAME,
        )
        inputs = {"pixel_values_videos": [torch.empty(frames, 1)]}
        video = InternVLProcessor.replace_video_token(owner, inputs, 0)
    else:
        owner = SimpleNamespace(
            image_token="<image>",
            fake_image_token="<fake_token_around_image>",
            global_image_token="<global-img>",
            image_seq_len=TOKENS_PER_FRAME,
        )
        metadata = VideoMetadata(
            total_num_frames=frames,
            fps=frames / timeline.duration_s,
            duration=timeline.duration_s,
            frames_indices=list(range(frames)),
        )
        assert [int(time) for time in metadata.timestamps] == [int(time) for time in timeline.times_s]
        video = SmolVLMProcessor.replace_video_token(
            owner, {"pixel_values": torch.empty(1, frames), "video_metadata": [metadata]}, 0
        )
    ids: list[int] = tokenizer(text.replace("<video>", video), add_special_tokens=False)["input_ids"]
    return ids
