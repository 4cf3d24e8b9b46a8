from __future__ import annotations

import numpy as np
import pytest
import torch

from videox2l.config import GenerationConfig
from videox2l.errors import QuestionTooLongError
from videox2l.evaluation.benchmarks import full_kv
from videox2l.evaluation.benchmarks.full_kv import FullKV, check_room
from videox2l.models import KVCompressibleModel, Timeline
from videox2l.models.video_xl.prompt import prefix_ids

GENERATION = GenerationConfig(max_new_tokens=6, logprobs=4)


def frames(model: KVCompressibleModel) -> list[np.ndarray]:
    shape = (10, model.frame_format.height, model.frame_format.width, 3)
    rng = np.random.default_rng(3)
    return [rng.integers(0, 256, shape, dtype=np.uint8) for _ in range(2)]


def test_equals_one_forward_of_the_plain_model(random_model: KVCompressibleModel, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(full_kv, "_PIECE", 7)  # chunks of 40 tokens in pieces that do not divide them
    model, chunks = random_model, frames(random_model)
    seen = (model.encode_frames(torch.from_numpy(chunk)) for chunk in chunks)
    prompt = model.start_prefill(model.default_compression).prompt
    memory = FullKV(model, prompt, seen, Timeline.steady(20))
    assert memory.tokens == len(prefix_ids(model.tokenizer)) + 80
    text, logprobs = memory.ask("What is shown?", GENERATION)

    embed = model.decoder.get_input_embeddings()
    with torch.inference_mode():
        visual_TN = torch.cat([model.encode_frames(torch.from_numpy(chunk)) for chunk in chunks])
        before_TN, question_TN = (
            embed(torch.tensor(ids)) for ids in (prefix_ids(model.tokenizer), model.question_ids("What is shown?"))
        )
        logits_V = model.decoder(inputs_embeds=torch.cat([before_TN, visual_TN, question_TN])[None]).logits[0, -1]
    best = logits_V.log_softmax(-1).topk(4)
    assert [token.logprob for token in logprobs[0].top] == pytest.approx(best.values.tolist(), abs=1e-4)
    # Questions do not see each other.
    memory.ask("Anything else?", GENERATION)
    assert memory.ask("What is shown?", GENERATION)[0] == text


def test_room_is_checked_before_anything_is_computed(random_model: KVCompressibleModel):
    question = random_model.question_ids("What?")
    room = random_model.context_length - len(question) - GENERATION.max_new_tokens
    check_room(random_model, room, "What?", GENERATION, "the video")
    with pytest.raises(QuestionTooLongError, match=f"{random_model.context_length + 1} positions"):
        check_room(random_model, room + 1, "What?", GENERATION, "the video")
