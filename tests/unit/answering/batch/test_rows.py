"""Questions decoded together give the tokens they give alone, whoever joins and leaves beside them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tests.unit.answering.batch.memories import GREEDY, alone, questions, random_memory, row
from videox2l.answering.batch import Batch, Row
from videox2l.answering.batch.rows import TAIL_TOKENS
from videox2l.config import GenerationConfig
from videox2l.models import load_model
from videox2l.models.cache import to_cache
from videox2l.models.video_xl.model import VideoXL


@pytest.fixture(scope="module")
def model() -> VideoXL:
    """The bundled one: unlike a random one it is sure of its tokens, so rounding cannot change them."""
    return load_model("tiny", device="cpu")


def run(batch: Batch, waiting: list[Row], wanted: Mapping[Row, int]) -> dict[Row, list[int]]:
    """Rows join as places get free, and leave when they have the wanted number of tokens."""
    found: dict[Row, list[int]] = {row: [] for row in waiting}
    waiting = list(waiting)
    while waiting or len(batch):
        while waiting and not batch.full:
            batch.add(waiting.pop(0))
        for member, pick in batch.step():
            found[member].append(pick.token)
            if len(found[member]) == wanted[member]:
                batch.remove(member)
    return found


@pytest.mark.parametrize("step_tokens", [7, 256])
@pytest.mark.parametrize("memories", [1, 3])
def test_tokens_equal_those_alone(model: VideoXL, memories: int, step_tokens: int) -> None:
    """More questions than places; they come and go at different steps, over equal and different memories."""
    mixed = [random_memory(model, 60 + 37 * seed, seed) for seed in range(memories)]
    asked = [(mixed[number % memories], ids) for number, ids in enumerate(questions(model, 9))]
    rows = [row(memory, ids) for memory, ids in asked]
    wanted = {member: 5 + 7 * number % 36 for number, member in enumerate(rows)}
    found = run(Batch(model, 4, step_tokens), rows, wanted)
    for member, (memory, ids) in zip(rows, asked, strict=True):
        assert found[member] == alone(model, memory, ids)[: wanted[member]]


def test_answers_and_questions_longer_than_a_tail(model: VideoXL) -> None:
    memory = random_memory(model, 50)
    long = model.question_ids("And then? " * 60)
    assert len(long) > TAIL_TOKENS
    generation = dataclasses.replace(GREEDY, max_new_tokens=TAIL_TOKENS + 50)
    rows = [row(memory, long), row(memory, model.question_ids("What?"))]
    found = run(Batch(model, 2, 100), rows, dict.fromkeys(rows, generation.max_new_tokens))
    assert found[rows[0]] == alone(model, memory, long, generation)
    assert found[rows[1]] == alone(model, memory, model.question_ids("What?"), generation)


def test_a_seed_gives_the_same_answer_in_any_company(model: VideoXL) -> None:
    memory = random_memory(model, 80)
    kinds = [GenerationConfig(20, temperature=1.2, top_p=0.9, seed=seed) for seed in range(4)] + [GREEDY]
    ids = model.question_ids("What is it?")
    rows = [row(memory, ids, kind) for kind in kinds]
    found = run(Batch(model, 5, 256), rows, dict.fromkeys(rows, 20))
    for member, kind in zip(rows, kinds, strict=True):
        assert found[member] == alone(model, memory, ids, kind)[:20]
    assert len({tuple(tokens) for tokens in found.values()}) > 2


def test_what_leaves_a_row_continues_it(model: VideoXL) -> None:
    """KVs of a removed row are those of its question and answer: a segment behind the same memory."""
    memory, ids = random_memory(model, 70), model.question_ids("What is it?")
    expected = alone(model, memory, ids)
    batch, first = Batch(model, 2, 256), row(memory, ids)
    batch.add(first)
    tokens = [batch.step()[0][1].token for _ in range(10)]
    own = batch.remove(first)
    assert own is not None
    assert own.tokens == len(ids) + 9
    second = Row(tokens[-1:], [memory, own], memory.tokens + own.tokens, first.sampler)
    batch.add(second)
    tokens += [batch.step()[0][1].token for _ in range(30)]
    assert tokens == expected


def test_a_question_is_run_in_pieces_beside_answers(model: VideoXL) -> None:
    memory = random_memory(model, 40)
    batch, answering = Batch(model, 3, 10), row(memory, model.question_ids("Why?"))
    batch.add(answering)
    while not answering.answering:
        batch.step()
    asking = row(memory, model.question_ids("So what happens after the second one of them? " * 2))
    size = len(asking.pending)
    batch.add(asking)
    steps = 0
    while not asking.answering:
        assert next(member for member, _ in batch.step()) is answering  # no step without its token
        steps += 1
    assert steps == -(-size // 10)


def test_a_full_batch_takes_no_more(model: VideoXL) -> None:
    batch, memory = Batch(model, 1, 10), random_memory(model, 20)
    batch.add(row(memory, [5]))
    with pytest.raises(IndexError, match="full"):
        batch.add(row(memory, [5]))


def test_the_simple_path_is_as_before_to_the_bit(random_model: VideoXL) -> None:
    memory, ids = random_memory(random_model, 30), torch.tensor([random_model.question_ids("Why?")])
    with torch.inference_mode():
        before = random_model.decoder(ids, past_key_values=to_cache(memory)).logits
        Batch(random_model, 1, 10)
        after = random_model.decoder(ids, past_key_values=to_cache(memory)).logits
    assert torch.equal(before, after)


def test_another_stock_decoder(model: VideoXL) -> None:
    """Llama instead of Qwen2: nothing in a batch depends on which it is."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, initializer_range=0.3,
    )  # fmt: skip

    class Other(VideoXL):
        decoder = LlamaForCausalLM(config).eval()  # type: ignore[assignment]

        def rope_tables(self, start: int, count: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
            cos, sin = self.decoder.model.rotary_emb(
                torch.empty((), dtype=dtype), torch.arange(start, start + count)[None]
            )
            return cos[0], sin[0]

    other = Other.__new__(Other)
    other.geometry = dataclasses.replace(model.geometry, layers=2, kv_heads=2, head_dim=16)
    memories = [random_memory(other, 20 + 9 * seed, seed) for seed in range(3)]
    rows = [row(memory, [3, 14, 15, 9 + number]) for number, memory in enumerate(memories)]
    found = run(Batch(other, 3, 256), rows, dict.fromkeys(rows, 20))
    for number, (member, memory) in enumerate(zip(rows, memories, strict=True)):
        assert found[member] == alone(other, memory, [3, 14, 15, 9 + number])[:20]
