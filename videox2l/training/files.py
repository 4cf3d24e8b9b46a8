"""End to end on real files: render, H.264, decode, vision, chunk loop at both levels, mix, greedy decoding."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache, PreTrainedTokenizerFast

from videox2l.config import CompressionConfig
from videox2l.kv.chunk import KV, ChunkKV
from videox2l.kv.mix import MixedKV, mix, reload
from videox2l.kv.rope import RopeTables
from videox2l.models.relevance import RelevanceHeads
from videox2l.models.video_xl.network import VideoXLNetwork
from videox2l.models.video_xl.prefill import VideoXLPrefill
from videox2l.models.video_xl.prompt import prefix_ids, question_ids
from videox2l.training.clips import QuestionEncoder
from videox2l.training.frame_bank import frames_at
from videox2l.training.model_config import HIGH_RATIO, LOW_RATIO
from videox2l.training.parallel_prefill import LayerMemory, tables
from videox2l.training.relevance import best_chunk, question_attention
from videox2l.training.scoring import Memories
from videox2l.video.synthetic import (
    HELD_OUT_SEED,
    SECONDS_PER_SCENE,
    Question,
    SyntheticClip,
    normalise,
    questions,
    render,
)

# Apart from the seeds of the held-out frame bank, which are the first few from HELD_OUT_SEED on.
_FIRST_SEED = HELD_OUT_SEED + 1000
_MAX_ANSWER_TOKENS = 12  # the longest answers have six


def silent(line: str) -> None:
    """Report nothing."""


class FilePrefill:
    """Both levels of one video file, prefilled chunk by chunk as a user's video is."""

    def __init__(self, network: VideoXLNetwork, tokenizer: PreTrainedTokenizerFast, path: Path, chunks: int) -> None:
        self._network, self._tokenizer = network, tokenizer
        compression = CompressionConfig(LOW_RATIO, HIGH_RATIO, SECONDS_PER_SCENE)
        prompt = torch.tensor(prefix_ids(tokenizer))
        loop = VideoXLPrefill(network.language_model, network.vst, prompt, compression)
        self.prompt: KV = loop.prompt
        self.chunks: list[ChunkKV] = []
        frames = np.stack(list(frames_at(path, range(chunks * SECONDS_PER_SCENE))))
        for chunk, frames_FHWC in enumerate(np.split(frames, chunks)):
            with torch.inference_mode():
                visual_TN = network.visual_tokens(torch.from_numpy(frames_FHWC))
            self.chunks.append(loop.append(visual_TN, last=chunk == chunks - 1))

    def memory(self, reloaded: Collection[int]) -> MixedKV:
        """High KVs of all chunks but the re-loaded ones."""
        low = {chunk: self.chunks[chunk]["low"] for chunk in reloaded}

        def rope_tables(count: int, dtype: torch.dtype) -> RopeTables:
            cos, sin = tables(self._network, torch.arange(count))
            return cos.to(dtype), sin.to(dtype)

        return mix(self.prompt, reload([chunk["high"] for chunk in self.chunks], low), rope_tables)

    def answer(self, memory: MixedKV, question: str) -> str:
        """Greedy decoding by transformers' own forward over an ordinary cache."""
        cache = DynamicCache()
        for layer, (keys, values) in enumerate(zip(memory.keys_LHTD, memory.values_LHTD, strict=True)):
            cache.update(keys[None].clone(), values[None].clone(), layer)
        ids, answer = question_ids(self._tokenizer, question), list[int]()
        model = self._network.language_model
        while len(answer) < _MAX_ANSWER_TOKENS:
            logits = model(torch.tensor([ids]), past_key_values=cache).logits[0, -1]
            ids = [int(logits.argmax())]
            if ids[0] == self._tokenizer.eos_token_id:
                break
            answer += ids
        return str(self._tokenizer.decode(answer))


def grade_files(
    network: VideoXLNetwork,
    tokenizer: PreTrainedTokenizerFast,
    heads: RelevanceHeads,
    scenes: Sequence[int],
    *,
    count: int = 40,
    report: Callable[[str], None] = silent,
) -> list[dict[str, Any]]:
    """Exact answers on one fresh video per entry of ``scenes``: all chunks high, all low, and one re-loaded."""
    results = []
    for index, length in enumerate(scenes):
        clip = SyntheticClip.from_seed(_FIRST_SEED + index, length)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "clip.mp4"
            render(clip, path)
            video = FilePrefill(network, tokenizer, path, length)
        asked = questions(clip, _FIRST_SEED + index, count=count)
        high, low = video.memory(()), video.memory(range(length))
        encoder = QuestionEncoder(tokenizer)
        right: dict[str, list[bool]] = {}
        for question in asked:
            with torch.inference_mode():
                chunk = best_chunk(
                    question_attention(network, encoder, as_memories(high), question), high.chunk_slices, heads
                )
                conditions = {"high": high, "low": low, "best heads": video.memory((chunk,))}
                for name, memory in conditions.items():
                    group = "code" if question.kind == "code" else "gist"
                    right.setdefault(f"{group}, {name}", []).append(_is_right(video, memory, question))
        entry = {"seed": _FIRST_SEED + index, "scenes": length, "questions": count}
        results.append(entry | {name: round(float(np.mean(values)), 4) for name, values in sorted(right.items())})
        report(f"real file: {results[-1]}")
    return results


def as_memories(memory: MixedKV) -> Memories:
    """A mixed memory in the form in which training code looks at attention."""
    pairs = zip(memory.keys_LHTD, memory.values_LHTD, strict=True)
    return Memories([LayerMemory(keys[None], values[None]) for keys, values in pairs], memory.chunk_slices)


def _is_right(video: FilePrefill, memory: MixedKV, question: Question) -> bool:
    return normalise(video.answer(memory, question.text)) == normalise(question.answer)
