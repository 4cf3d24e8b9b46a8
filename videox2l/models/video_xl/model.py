"""Video-XL as a :class:`~videox2l.models.protocol.KVCompressibleModel`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast, Qwen2Tokenizer
from transformers.models.qwen2.modeling_qwen2 import Qwen2DecoderLayer

from videox2l.config import CompressionConfig
from videox2l.errors import CheckpointError
from videox2l.identity import fingerprint, hash_file
from videox2l.kv import ChunkKV
from videox2l.kv.rope import KeptTables, RopeTables, rotate
from videox2l.models.protocol import KVGeometry, ModelIdentity, PrefillState, Timeline
from videox2l.models.relevance import RelevanceHeads, read_relevance_heads
from videox2l.models.video_xl.checkpoint import load_config, load_network, weight_files
from videox2l.models.video_xl.memory import VideoXLWorkload
from videox2l.models.video_xl.network import VideoXLNetwork
from videox2l.models.video_xl.prefill import VideoXLPrefill, append_together
from videox2l.models.video_xl.prompt import answer_ids, prefix_ids, question_ids, stop_ids


class VideoXL:
    """A loaded checkpoint: weights, tokenizer and identity. Stateless: any number of videos at once."""

    def __init__(
        self,
        network: VideoXLNetwork,
        tokenizer: Any,
        identity: ModelIdentity,
        name: str,
        relevance_heads: RelevanceHeads | None = None,
    ) -> None:
        self.network = network
        self.tokenizer = tokenizer
        self.identity = identity
        self.name = name
        self.relevance_heads = relevance_heads
        config = network.config
        self.frame_format = config.frame_format
        self.tokens_per_frame = self.dense_tokens_per_frame = config.tokens_per_frame
        self.context_length = config.text.max_position_embeddings
        self.default_compression = config.compression
        self.stop_ids = stop_ids(tokenizer)
        attention = network.language_model.model.layers[0].self_attn
        dtype = str(attention.k_proj.weight.dtype).removeprefix("torch.")
        self.geometry = KVGeometry(
            config.text.num_hidden_layers, config.text.num_key_value_heads, attention.head_dim, dtype
        )
        kind = network.language_model.model.rotary_emb.rope_type
        # These two stretch all angles with the length of what is rotated, so that no table serves another length.
        stretching = "dynamic" in kind or kind == "longrope"
        self._kept_tables = None if stretching else KeptTables(partial(self._make_tables, 0))

    @property
    def decoder(self) -> PreTrainedModel:
        """The stock ``Qwen2ForCausalLM``."""
        return self.network.language_model

    @torch.inference_mode()
    def encode_frames(self, frames_FHWC: torch.Tensor) -> torch.Tensor:
        """``[F, H, W, 3]`` uint8 RGB frames → ``[F * tokens_per_frame, hidden]`` visual tokens."""
        return self.network.visual_tokens(frames_FHWC)

    def dense_rows(
        self,
        visual_tokens_TN: torch.Tensor,
        first: int,  # noqa: ARG002 (nothing stands around its frames)
        timeline: Timeline | None = None,  # noqa: ARG002
        *,
        last: bool,  # noqa: ARG002
    ) -> torch.Tensor:
        """The visual tokens themselves."""
        return visual_tokens_TN

    def start_prefill(
        self,
        compression: CompressionConfig,
        resume: PrefillState | None = None,
        timeline: Timeline | None = None,  # noqa: ARG002 (it is told no times)
    ) -> VideoXLPrefill:
        """Begin a video: runs the chat prompt in front of it. With ``resume``, go on behind the chunks it holds."""
        prompt_T = torch.tensor(prefix_ids(self.tokenizer))
        return VideoXLPrefill(self.network.language_model, self.network.vst, prompt_T, compression, resume)

    def append_together(
        self, prefills: Sequence[VideoXLPrefill], visual_tokens: Sequence[torch.Tensor], last: Sequence[bool]
    ) -> list[ChunkKV]:
        """Advance several videos by a chunk each, in shared forwards."""
        return append_together(prefills, visual_tokens, last)

    def workload(self, compression: CompressionConfig, chunks: int) -> VideoXLWorkload:
        """The prefill of a video of so many chunks, to ask whether it fits the device beside the weights."""
        dtype = getattr(torch, self.geometry.dtype)
        return VideoXLWorkload(config=self.network.config, compression=compression, dtype=dtype, chunks=chunks)

    def rope_tables(self, start: int, count: int, dtype: torch.dtype) -> RopeTables:
        """Cosines and sines, each [T, D], from the decoder's own rotary embedding."""
        if start == 0 and self._kept_tables is not None:
            return self._kept_tables.first(count, dtype)
        return self._make_tables(start, count, dtype)

    def _make_tables(self, start: int, count: int, dtype: torch.dtype) -> RopeTables:
        device = self.network.language_model.device
        positions_BT = torch.arange(start, start + count, device=device)[None]
        like = torch.empty((), dtype=dtype, device=device)
        cos_BTD, sin_BTD = self.network.language_model.model.rotary_emb(like, positions_BT)
        return cos_BTD[0], sin_BTD[0]

    def question_ids(self, question: str, *, follow_up: bool = False) -> list[int]:
        """Token ids of a question behind the video, or behind an answer, up to where its own answer begins."""
        return question_ids(self.tokenizer, question, follow_up=follow_up)

    def answer_ids(self, answer: str) -> list[int]:
        """Token ids of an earlier answer and of the end of its turn."""
        return answer_ids(self.tokenizer, answer)

    def queries(self, layer: int, hidden_TN: torch.Tensor, start: int) -> torch.Tensor:
        """Rotated queries ``[Q, T, D]`` of ``layer`` for the hidden states that enter it."""
        decoder_layer: Qwen2DecoderLayer = self.network.language_model.model.layers[layer]
        attention = decoder_layer.self_attn
        projected_TX = attention.q_proj(decoder_layer.input_layernorm(hidden_TN))
        queries_QTD = projected_TX.unflatten(-1, (-1, attention.head_dim)).transpose(0, 1)
        return rotate(queries_QTD, self.rope_tables(start, len(hidden_TN), queries_QTD.dtype))


def load_video_xl(folder: Path, *, name: str, device: torch.device, dtype: torch.dtype) -> VideoXL:
    """Load the checkpoint in ``folder``. Raises :class:`~videox2l.errors.CheckpointError` for anything amiss."""
    network = load_network(folder, device=device, dtype=dtype)
    tokenizer = load_tokenizer(folder)
    vocabulary, embeddings = len(tokenizer), network.config.text.vocab_size
    if vocabulary > embeddings:
        raise CheckpointError(f"the tokenizer in {folder} has {vocabulary} tokens, the model only {embeddings}")
    text = network.config.text
    heads = read_relevance_heads(folder, text.num_hidden_layers, text.num_attention_heads)
    return VideoXL(network, tokenizer, identify(folder, dtype), name, heads)


def video_xl_compression(folder: Path) -> CompressionConfig:
    """The compression that the checkpoint in ``folder`` is made for, from its ``config.json``."""
    return load_config(folder, weight_files(folder)).compression


def identify(folder: Path, dtype: torch.dtype) -> ModelIdentity:
    """Fingerprint weights, configuration and tokenizer by content, so that a renamed or edited folder is noticed.

    The compute dtype belongs to it: KVs of a bfloat16 run are not those of a float32 run.
    """
    files = [*weight_files(folder), *(folder / name for name in ("config.json", "tokenizer.json"))]
    document = {
        "backend": "video_xl",
        "compute_dtype": str(dtype).removeprefix("torch."),
        "files": {path.name: hash_file(path)[0] for path in sorted(files) if path.is_file()},
    }
    return ModelIdentity(fingerprint(document), document)


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a checkpoint folder; raises :class:`CheckpointError` if there is none that can be used."""
    # By file rather than AutoTokenizer, which would consult config.json, whose model type transformers does not know.
    if (folder / "tokenizer.json").is_file():
        kind = PreTrainedTokenizerFast
    elif (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        kind = Qwen2Tokenizer
    else:
        raise CheckpointError(f"no tokenizer in {folder}: it needs tokenizer.json, or vocab.json and merges.txt")
    try:
        # Text is text unless prompt.py says otherwise.
        return kind.from_pretrained(folder, local_files_only=True, split_special_tokens=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"no usable tokenizer in {folder}: {error}") from error
