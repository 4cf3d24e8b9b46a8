"""What the benchmark asks about: archives of random KVs, made without video files or a prefill."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from videox2l.config import CompressionConfig, SamplingConfig
from videox2l.identity import VideoIdentity
from videox2l.kv import KV
from videox2l.models import KVCompressibleModel
from videox2l.models.registry import TINY_FOLDER
from videox2l.models.video_xl.checkpoint import checkpoint_name, load_config, weight_files
from videox2l.models.video_xl.network import VideoXLNetwork
from videox2l.prefill import index_spec
from videox2l.store import Archive

# Large enough that matrix products, not Python, take most of a step on a CPU; small enough to be made in a second.
LARGER = {
    "hidden_size": 256,
    "intermediate_size": 1024,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "mm_hidden_size": 128,
}

_PROMPT_TOKENS = 14


def write_larger_model(folder: Path) -> Path:
    """A checkpoint of :data:`LARGER` with random weights and the bundled tokenizer."""
    folder.mkdir(parents=True)
    raw = json.loads((TINY_FOLDER / "config.json").read_text()) | LARGER
    (folder / "config.json").write_text(json.dumps(raw))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TINY_FOLDER / name, folder / name)
    torch.manual_seed(0)
    network = VideoXLNetwork(load_config(folder, weight_files(TINY_FOLDER)))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    tensors = {checkpoint_name(name): tensor for name, tensor in network.state_dict().items()}
    if raw["tie_word_embeddings"]:
        tensors.pop("lm_head.weight", None)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    return folder


def write_videos(
    archive: Archive,
    model: KVCompressibleModel,
    videos: int,
    chunks: int,
    compression: CompressionConfig | None = None,
) -> list[str]:
    """Commit ``videos`` of ``chunks`` chunks each, as large as ``model`` would make them; their ids."""
    compression, geometry = compression or model.default_compression, model.geometry
    spec = index_spec(model, SamplingConfig(), compression)
    raw_tokens = compression.frames_per_chunk * model.tokens_per_frame
    frames = compression.frames_per_chunk
    generator = torch.Generator().manual_seed(0)

    def random_kv(tokens: int) -> KV:
        shape = (geometry.layers, geometry.kv_heads, tokens, geometry.head_dim)
        dtype: torch.dtype = getattr(torch, geometry.dtype)
        return KV(*(torch.randn(shape, generator=generator).to(dtype) for _ in range(2)))

    prompt = random_kv(_PROMPT_TOKENS)
    # A few chunks in turn: random numbers would take longer than everything else.
    kvs = [
        {"low": random_kv(raw_tokens // compression.low_ratio), "high": random_kv(raw_tokens // compression.high_ratio)}
        for _ in range(8)
    ]
    ids = []
    for number in range(videos):
        digest = hashlib.sha256(f"bench {number}".encode()).hexdigest()
        name = f"{number:05d}.mp4"
        with archive.create_index(VideoIdentity(digest[:32], name, f"file:///{name}", 1, digest), spec) as writer:
            writer.put_prompt(prompt)
            for chunk in range(chunks):
                writer.append(chunk, chunk * frames, (chunk + 1) * frames, frames, kvs[(number + chunk) % len(kvs)])  # type: ignore[arg-type]
            writer.commit()
        ids.append(digest[:32])
    return ids
