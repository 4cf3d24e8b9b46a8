"""The tiny model's weights without VSTs, as a stock LLaVA-OneVision of transformers: its plain sibling.

Nothing is approximated. OneVision shrinks a frame's 4 x 4 patches by bilinear interpolation to 2 x 2, which at this
ratio is the mean that Video-XL takes, and the row that it puts behind a video is the line break in front of a question.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    GenerationConfig,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging

from videox2l.models.video_xl.configuration import CLIP_MEAN, CLIP_STD
from videox2l.models.video_xl.network import VideoXLNetwork
from videox2l.models.video_xl.prompt import BEFORE_QUESTION, END_OF_TURN, NEXT_TURN, PREFIX

_IMAGE, _VIDEO = "<image>", "<video>"

# The prompt of models/video_xl/prompt.py: the same tokens, but that the line break in front of a question is the row
# that the model puts behind a video.
_SYSTEM = PREFIX.partition(END_OF_TURN)[0] + END_OF_TURN
# Line breaks in quotes: a template's own are lost behind a block.
CHAT_TEMPLATE = (
    f"{_SYSTEM}{{% for message in messages %}}{{{{ {NEXT_TURN!r} + message['role'] + '\\n' }}}}"
    "{% for part in message['content'] %}"
    f"{{% if part['type'] == 'video' %}}{_VIDEO}{{% elif part['type'] == 'text' %}}{{{{ part['text'] }}}}{{% endif %}}"
    f"{{% endfor %}}{END_OF_TURN}{{% endfor %}}"
    f"{{% if add_generation_prompt %}}{{{{ {NEXT_TURN!r} + 'assistant\\n' }}}}{{% endif %}}"
)


def stock_tokenizer(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """A copy with the stand-ins for pictures and videos, and the chat template."""
    copy = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer,
        eos_token=tokenizer.eos_token,
        pad_token=tokenizer.pad_token,
        clean_up_tokenization_spaces=False,
    )
    copy.add_special_tokens({"additional_special_tokens": [_IMAGE, _VIDEO]})
    copy.chat_template = CHAT_TEMPLATE
    return copy


@torch.no_grad()
def stock_network(
    network: VideoXLNetwork, tokenizer: PreTrainedTokenizerFast
) -> LlavaOnevisionForConditionalGeneration:
    """``network`` without its VSTs; ``tokenizer`` is that of :func:`stock_tokenizer`."""
    text = network.config.text.to_dict() | {"vocab_size": len(tokenizer)}
    config = LlavaOnevisionConfig(
        text_config=text,
        vision_config=network.vision_tower.config.to_dict(),
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",  # without the class token
        image_token_index=tokenizer.convert_tokens_to_ids(_IMAGE),
        video_token_index=tokenizer.convert_tokens_to_ids(_VIDEO),
        tie_word_embeddings=network.config.text.tie_word_embeddings,
        image_grid_pinpoints=[[network.vision_tower.config.image_size] * 2],
    )
    stock = LlavaOnevisionForConditionalGeneration(config)
    language = dict(network.language_model.model.state_dict())
    words_VN = language["embed_tokens.weight"]
    # Never an answer's token, as little as padding is.
    never_VN = words_VN[tokenizer.pad_token_id].expand(len(tokenizer) - len(words_VN), -1)
    language["embed_tokens.weight"] = torch.cat([words_VN, never_VN])
    stock.model.language_model.load_state_dict(language)
    stock.model.vision_tower.load_state_dict(network.vision_tower.state_dict())
    first, _, second = network.projector
    stock.model.multi_modal_projector.linear_1.load_state_dict(first.state_dict())
    stock.model.multi_modal_projector.linear_2.load_state_dict(second.state_dict())
    (line_break,) = tokenizer(BEFORE_QUESTION, add_special_tokens=False)["input_ids"]
    stock.model.image_newline.copy_(words_VN[line_break])
    stock.tie_weights()
    stock.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, do_sample=False
    )
    return stock.eval().requires_grad_(False)


def save_stock(network: VideoXLNetwork, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the checkpoint, weights in half precision, with what its processor needs to know."""
    copy = stock_tokenizer(tokenizer)
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # the command line has its own
    stock_network(network, copy).save_pretrained(folder)
    if shown:
        logging.enable_progress_bar()
    half = {name: tensor.half() for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(half, folder / "model.safetensors", metadata={"format": "pt"})
    copy.save_pretrained(folder)
    side = network.vision_tower.config.image_size
    processor = {
        "video_processor_type": "LlavaOnevisionVideoProcessor",
        "do_resize": True,
        "size": {"height": side, "width": side},
        "resample": 3,  # bicubic
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(CLIP_MEAN),
        "image_std": list(CLIP_STD),
    }
    (folder / "video_preprocessor_config.json").write_text(json.dumps(processor, indent=1) + "\n")
