"""A stock video model of transformers as a :class:`~videox2l.models.protocol.KVCompressibleModel`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText, PreTrainedModel

from videox2l.config import CompressionConfig
from videox2l.errors import CheckpointError
from videox2l.identity import fingerprint, hash_file
from videox2l.kv import ChunkKV
from videox2l.kv.rope import RopeTables, rotate
from videox2l.models.plain.capture import Capture
from videox2l.models.plain.families import FAMILIES, Family
from videox2l.models.plain.interleaved import FrameText
from videox2l.models.plain.memory import VISION_BATCH_FRAMES, PlainWorkload
from videox2l.models.plain.network import (
    causal_decoder,
    find_language_model,
    load_config,
    load_network,
    stop_ids,
)
from videox2l.models.plain.placement import check_map, compile_layers
from videox2l.models.plain.prefill import PlainPrefill, check_compression
from videox2l.models.plain.processing import load_processing, load_tokenizer
from videox2l.models.plain.prompt import ChatFormat
from videox2l.models.plain.settings import PlainSettings, parse_settings
from videox2l.models.plain.stretch import Place, Stretch
from videox2l.models.protocol import KVGeometry, ModelIdentity, PrefillState, Timeline
from videox2l.models.relevance import read_relevance_heads
from videox2l.video.frames import FrameFormat

# Nothing was trained for any ratio; 1 token in 16 keeps the gist small beside half of them. Not tuned.
COMPRESSION = CompressionConfig(low_ratio=2, high_ratio=16)


class PlainModel:
    """A loaded checkpoint: weights, processor and identity. Stateless: any number of videos at once."""

    def __init__(
        self, network: Any, folder: Path, *, name: str, identity: ModelIdentity, settings: PlainSettings
    ) -> None:
        self.network, self.name, self.identity, self.settings = network, name, identity, settings
        self.processing, self.tokenizer = load_processing(folder, settings.size), load_tokenizer(folder)
        self._family = FAMILIES[network.config.model_type]
        self._decoder = causal_decoder(network, self._family.shell)
        self.capture = Capture(self._decoder.base_model.layers)
        self.frame_text = None if self._family.text is None else self._family.text(self.tokenizer)
        """What stands around each frame or step in time, for families that write text there."""
        self.chat = _chat_format(self.tokenizer, network.config, self.frame_text)
        self.stop_ids = stop_ids(folder, self.tokenizer)
        self.frame_format = self.processing.frame_format
        self.default_compression = COMPRESSION
        text = self._decoder.config
        self.context_length = text.max_position_embeddings
        self.relevance_heads = read_relevance_heads(folder, text.num_hidden_layers, text.num_attention_heads)
        self._check_vocabulary(folder, text.vocab_size)
        head_dim = self._decoder.base_model.layers[0].self_attn.head_dim
        dtype = str(self._decoder.dtype).removeprefix("torch.")
        self.geometry = KVGeometry(
            text.num_hidden_layers, text.num_key_value_heads, head_dim, dtype, self.three_positions
        )
        blank = torch.zeros(1, self.frame_format.height, self.frame_format.width, 3, dtype=torch.uint8)
        self.tokens_per_step = len(self.encode_frames(blank))
        """Visual tokens of as many frames as the model takes as one step in time."""
        self.tokens_per_frame = -(-self.tokens_per_step // self._family.frames_per_step)
        self.dense_tokens_per_frame = self.tokens_per_frame + _text_per_frame(self._family, self.frame_text, self.chat)
        behind = self._family.behind(network)
        weight = self._decoder.get_input_embeddings().weight
        self.rows_behind: torch.Tensor = weight[:0] if behind is None else behind.to(weight)
        """``[S, hidden]`` that the model puts behind a video."""

    @property
    def three_positions(self) -> bool:
        """Whether positions are three numbers a token (M-RoPE)."""
        return self._family.positions is not None

    @property
    def decoder(self) -> PreTrainedModel:
        """The stock causal language model, which shares its weights with the video model."""
        return self._decoder

    @torch.inference_mode()
    def encode_frames(self, frames_FHWC: torch.Tensor) -> torch.Tensor:
        """``[F, H, W, 3]`` uint8 RGB frames in ``frame_format`` → ``[F * tokens_per_frame, hidden]``."""
        parts = []
        for batch_FHWC in frames_FHWC.split(VISION_BATCH_FRAMES):
            pixels_FCHW = self.processing.pixels(batch_FHWC.to(self._decoder.device)).to(self.network.dtype)
            parts.append(self._family.frames(self.network, pixels_FCHW))
        return torch.cat(parts).to(self._decoder.device)

    def prompt_ids(self, timeline: Timeline | None) -> list[int]:
        """Token ids in front of a video's first visual token."""
        opening = "" if self.frame_text is None or timeline is None else self.frame_text.opening(timeline)
        return self.chat.prefix_ids(opening)

    def embedded(self, ids: list[int]) -> torch.Tensor:
        """``[T, hidden]``."""
        rows_TN: torch.Tensor = self._decoder.get_input_embeddings()(torch.tensor(ids, device=self._decoder.device))
        return rows_TN

    def known(self, timeline: Timeline | None) -> Timeline:
        """The timeline that a prefill goes by; without times where nobody said them.

        :raises ModelError: this model has to be told.
        """
        if self.frame_text is not None:
            return self.frame_text.check(timeline)
        return timeline or Timeline((), 0.0)

    def arrange(self, visual_TN: torch.Tensor, place: Place) -> Stretch:
        """A chunk as the language model takes it, with what stands between and behind its frames."""
        hidden = self._decoder.config.hidden_size
        seen_TN, *deeper = visual_TN.split(hidden, dim=1)
        parts: list[tuple[torch.Tensor, bool]] = []
        for step, step_PN in enumerate(seen_TN.split(self.tokens_per_step)):
            number = place.first_frame + step * self._family.frames_per_step
            if self.frame_text is not None and number > 0:
                between = self.chat.frame_ids(self.frame_text.between(number, place.timeline))
                parts.append((self.embedded(between), False))
            parts.append((step_PN, True))
        if place.last:
            parts.append((self.rows_behind, False))
        rows_XN = torch.cat([rows_TN.to(seen_TN) for rows_TN, _ in parts])
        visual_X = torch.tensor([is_visual for rows_TN, is_visual in parts for _ in rows_TN], device=visual_TN.device)
        more = {"visual_pos_masks": visual_X[None], "deepstack_visual_embeds": deeper} if deeper else {}
        if self._family.positions is None:
            return Stretch(rows_XN, visual_X, more=more)
        positions_3X, next_position = self._family.positions(self, visual_X, place)
        return Stretch(rows_XN, visual_X, positions_3X.to(visual_TN.device), next_position, more)

    def frames_in(self, visual_TN: torch.Tensor) -> int:
        """Frames of so many visual tokens, where a single last one fills a whole step in time."""
        return len(visual_TN) // self.tokens_per_step * self._family.frames_per_step

    def rotate_to(self, keys_LHKD: torch.Tensor, positions_3X: torch.Tensor) -> torch.Tensor:
        """Keys at positions of three numbers that broadcast to ``[3, L, H, K]``; they need not be whole."""
        cos_XKD, sin_XKD = self._decoder.base_model.rotary_emb(keys_LHKD, positions_3X.flatten(1, -2))
        shape = (*positions_3X.shape[1:], keys_LHKD.shape[-1])
        return rotate(keys_LHKD, (cos_XKD.view(shape), sin_XKD.view(shape)))

    @torch.inference_mode()
    def dense_rows(
        self, visual_tokens_TN: torch.Tensor, first: int, timeline: Timeline | None = None, *, last: bool
    ) -> torch.Tensor:
        """All rows of a chunk, ``[X, hidden]``; ``first`` is the number of its first frame in the video."""
        return self.arrange(visual_tokens_TN, Place(first, self.known(timeline), 0, 0, last)).rows_XN

    def check_compression(self, compression: CompressionConfig) -> None:
        """:raises ConfigError: this model cannot compress so."""
        check_compression(compression, self._family.frames_per_step)

    def _check_vocabulary(self, folder: Path, rows: int) -> None:
        # Some families' word for a video is only ever replaced by others, and the model has no row for it.
        word = None if self.frame_text is None else self.frame_text.video_token
        needed = 1 + max(number for token, number in self.tokenizer.get_vocab().items() if token != word)
        if needed > rows:
            raise CheckpointError(f"the tokenizer in {folder} has {needed} tokens, the model only {rows}")

    def start_prefill(
        self, compression: CompressionConfig, resume: PrefillState | None = None, timeline: Timeline | None = None
    ) -> PlainPrefill:
        """Begin a video: runs the chat template in front of it. With ``resume``, go on behind the chunks it holds."""
        return PlainPrefill(self, compression, resume, timeline)

    def append_together(
        self, prefills: Sequence[PlainPrefill], visual_tokens: Sequence[torch.Tensor], last: Sequence[bool]
    ) -> list[ChunkKV]:
        """One after the other: a chunk of such a model fills a device."""
        return [
            prefill.append(tokens_TN, last=is_last)
            for prefill, tokens_TN, is_last in zip(prefills, visual_tokens, last, strict=True)
        ]

    def workload(self, compression: CompressionConfig, chunks: int) -> PlainWorkload:
        """The prefill of a video of so many chunks."""
        tokens = self.tokens_per_frame, self.dense_tokens_per_frame - self.tokens_per_frame
        return _workload(
            self.network, tokens, self.frame_format, self.settings, compression, self._decoder.dtype, chunks
        )

    def rope_tables(self, start: int, count: int, dtype: torch.dtype) -> RopeTables:
        """Cosines and sines, each [T, D], from the decoder's own rotary embedding."""
        device = self._decoder.device
        positions_BT = torch.arange(start, start + count, device=device)[None]
        like = torch.empty((), dtype=dtype, device=device)
        cos_BTD, sin_BTD = self._decoder.base_model.rotary_emb(like, positions_BT)
        return cos_BTD[0], sin_BTD[0]

    def question_ids(self, question: str, *, follow_up: bool = False) -> list[int]:
        """Token ids of a question behind the video, or behind an answer, by the model's own chat template."""
        return self.chat.question_ids(question, follow_up=follow_up)

    def answer_ids(self, answer: str) -> list[int]:
        """Token ids of an earlier answer and of the end of its turn."""
        return self.chat.answer_ids(answer)

    def queries(self, layer: int, hidden_TN: torch.Tensor, start: int) -> torch.Tensor:
        """Rotated queries ``[Q, T, D]`` of ``layer`` for the hidden states that enter it."""
        decoder_layer: Any = self._decoder.base_model.layers[layer]
        attention = decoder_layer.self_attn
        projected_TX = attention.q_proj(decoder_layer.input_layernorm(hidden_TN))
        queries_TQD = projected_TX.unflatten(-1, (-1, attention.head_dim))
        if hasattr(attention, "q_norm"):
            queries_TQD = attention.q_norm(queries_TQD)
        return rotate(queries_TQD.transpose(0, 1), self.rope_tables(start, len(hidden_TN), queries_TQD.dtype))


def load_plain(folder: Path, *, name: str, device: torch.device, dtype: torch.dtype) -> PlainModel:
    """Load the checkpoint in ``folder``; ``name`` may carry settings behind a ``?``.

    Raises :class:`CheckpointError` or :class:`ModelError` for anything amiss.
    """
    settings = parse_settings(name)
    network = load_network(folder, device=device, dtype=dtype, settings=settings)
    if settings.device_map:
        check_map(find_language_model(network), network.lm_head, device)
    model = PlainModel(network, folder, name=name, identity=identify(folder, dtype, settings), settings=settings)
    if settings.compile:
        compile_layers(model.decoder, device)
    return model


def plain_compression(_folder: Path) -> CompressionConfig:
    """The default compression; the same for all of these models."""
    return COMPRESSION


def plain_workload(
    folder: Path, compression: CompressionConfig, dtype: torch.dtype, chunks: int, *, settings: PlainSettings
) -> PlainWorkload:
    """A prefill on the checkpoint in ``folder``, of which no weights are read."""
    wanted = load_processing(folder, settings.size).frame_format
    with torch.device("meta"), torch.inference_mode():
        network = AutoModelForImageTextToText.from_config(load_config(folder), trust_remote_code=False)
        family = FAMILIES[network.config.model_type]
        blank = torch.zeros(1, 3, wanted.height, wanted.width)
        step = len(family.frames(network, blank)) if family.tokens is None else family.tokens(network)
    text = 0
    if family.text is not None:
        tokenizer = load_tokenizer(folder)
        frame_text = family.text(tokenizer)
        text = _text_per_frame(family, frame_text, _chat_format(tokenizer, network.config, frame_text))
    tokens = -(-step // family.frames_per_step), text
    return _workload(network, tokens, wanted, settings, compression, dtype, chunks)


def identify(folder: Path, dtype: torch.dtype, settings: PlainSettings) -> ModelIdentity:
    """Fingerprint weights, configuration, processor and settings by content."""
    files = [path for pattern in ("*.safetensors", "*.json", "*.jinja", "*.txt") for path in folder.glob(pattern)]
    document = {
        "backend": "plain",
        "compute_dtype": str(dtype).removeprefix("torch."),
        "settings": settings.document(),
        "files": {path.name: hash_file(path)[0] for path in sorted(files) if path.name not in _NOT_IDENTITY},
    }
    return ModelIdentity(fingerprint(document), document)


# How answers are sampled, and what was measured, change no KVs.
_NOT_IDENTITY = (
    "generation_config.json",
    "relevance.json",
    "model.safetensors.index.json",
    "evaluation.json",
    "training_log.json",
)


# A frame whose number and time have as many digits as those of hours of video.
_FAR_FRAME = 9_999


def _text_per_frame(family: Family, text: FrameText | None, chat: ChatFormat) -> int:
    """The most tokens of text that stand around one frame, or its share of those around a step in time."""
    if text is None:
        return 0
    between = chat.frame_ids(text.between(_FAR_FRAME, Timeline.steady(_FAR_FRAME + 1)))
    return -(-len(between) // family.frames_per_step)


def _chat_format(tokenizer: Any, config: Any, text: FrameText | None) -> ChatFormat:
    if text is None:
        return ChatFormat(tokenizer, _video_token(tokenizer, config))
    video_token = text.video_token or _video_token(tokenizer, config)
    return ChatFormat(tokenizer, video_token, template=text.template, behind_video=text.closing)


def _video_token(tokenizer: Any, config: Any) -> str:
    number = getattr(config, "video_token_id", None) or getattr(config, "video_token_index", None)
    token = None if number is None else tokenizer.convert_ids_to_tokens(number)
    if token is None:
        raise CheckpointError("the tokenizer has no token that stands for a video: is this its processor's?")
    return str(token)


def _workload(
    network: Any,
    tokens: tuple[int, int],
    frame_format: FrameFormat,
    settings: PlainSettings,
    compression: CompressionConfig,
    dtype: torch.dtype,
    chunks: int,
) -> PlainWorkload:
    return PlainWorkload(
        compression=compression,
        dtype=dtype,
        chunks=chunks,
        text=network.config.text_config,
        vision=network.config.vision_config,
        weights=sum(parameter.numel() for parameter in network.parameters()),
        tokens_per_frame=tokens[0],
        text_per_frame=tokens[1],
        window=settings.window,
        frame_format=frame_format,
        frames_per_step=FAMILIES[network.config.model_type].frames_per_step,
    )
