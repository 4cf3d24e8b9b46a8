"""Chunks of different length, all at once, must give what the chunk loop gives one after the other."""

import dataclasses

import pytest
import torch
from transformers import DynamicCache

from tests.checkpoints import byte_tokenizer
from videox2l.config import CompressionConfig
from videox2l.kv.chunk import concatenate
from videox2l.kv.rope import rotate
from videox2l.models.video_xl.prefill import VideoXLPrefill
from videox2l.models.video_xl.prompt import prefix_ids
from videox2l.training.parallel_prefill import plan_chunks, prefill, tables
from videox2l.training.vst.chunks import plan_uneven_chunks
from videox2l.training.vst.examples import Example, answer_tokens
from videox2l.training.vst.module import VSTModule

TOLERANCE = 1e-4
RAW = (16, 16, 16, 7)
PROMPT = torch.tensor(prefix_ids(byte_tokenizer()))


@pytest.fixture(scope="module")
def chunks() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(raw, 32, generator=generator) for raw in RAW]


def padded(chunks: list[torch.Tensor], padding: float = 0.0) -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence(chunks, batch_first=True, padding_value=padding)


def test_even_chunks_have_the_usual_plan() -> None:
    usual = plan_chunks((2, 8, 4), 16, prompt_tokens=5)
    uneven = plan_uneven_chunks((16, 16, 16), (2, 8, 4), prompt_tokens=5)
    for field in dataclasses.fields(usual):
        a, b = getattr(usual, field.name), getattr(uneven, field.name)
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b, field.name


@pytest.mark.parametrize("ratio", [2, 3, 16])
def test_equals_the_chunk_loop(random_model, chunks, ratio) -> None:
    network = random_model.network
    compression = CompressionConfig(low_ratio=ratio, high_ratio=32, edge_ratio="level")
    loop = VideoXLPrefill(network.language_model, network.vst, PROMPT, compression)
    parts = [loop.append(chunk, last=number == len(chunks) - 1)["low"] for number, chunk in enumerate(chunks)]
    expected = concatenate([loop.prompt, *parts])
    plan = plan_uneven_chunks(RAW, [ratio] * len(RAW), len(PROMPT))
    with torch.no_grad():
        memories = prefill(network, PROMPT, padded(chunks)[None], plan)
    assert plan.end == expected.tokens
    rotated = rotate(expected.keys_LHTD, tables(network, torch.arange(expected.tokens)))
    for layer, memory in enumerate(memories):
        assert torch.allclose(memory.keys_BHMD[0], rotated[layer], atol=TOLERANCE)
        assert torch.allclose(memory.values_BHMD[0], expected.values_LHTD[layer], atol=TOLERANCE)


def test_the_loss_is_that_of_the_stock_decoder_behind_the_chunk_loop(random_model, chunks) -> None:
    """What is trained is what is run: compressed chunk by chunk, then answered over an ordinary KV cache."""
    network, tokenizer = random_model.network, random_model.tokenizer
    compression = CompressionConfig(low_ratio=4, high_ratio=32, edge_ratio="level")
    loop = VideoXLPrefill(network.language_model, network.vst, PROMPT, compression)
    parts = [loop.append(chunk, last=number == len(chunks) - 1)["low"] for number, chunk in enumerate(chunks)]
    memory = concatenate([loop.prompt, *parts])
    rotated = rotate(memory.keys_LHTD, tables(network, torch.arange(memory.tokens)))
    pairs = (("Who speaks first?", "Nobody"), ("When?", "At noon, <|im_end|> he said"))
    expected = 0.0
    with torch.no_grad():
        for question, answer in pairs:
            cache = DynamicCache()
            for layer, keys in enumerate(rotated):
                cache.update(keys[None], memory.values_LHTD[layer][None], layer)
            asked = random_model.question_ids(question)
            plain = tokenizer(answer, add_special_tokens=False, split_special_tokens=True)["input_ids"]
            told = [*plain, tokenizer.convert_tokens_to_ids("<|im_end|>")]
            logits = network.language_model(torch.tensor([asked + told]), past_key_values=cache).logits[0]
            wanted = logits[len(asked) - 1 : -1]
            expected += torch.nn.functional.cross_entropy(wanted, torch.tensor(told), reduction="sum").item()
        tokens = answer_tokens(tokenizer, Example("clip.mp4", pairs))
        arguments = (PROMPT, padded(chunks), RAW, (4,) * len(RAW))
        loss = VSTModule(network)(*arguments, tokens.ids_BJT, tokens.wanted_BJT, tokens.targets_X)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_padding_changes_nothing(random_model, chunks) -> None:
    tokens = answer_tokens(random_model.tokenizer, Example("clip.mp4", (("Who?", "Nobody"),)))
    losses = []
    for padding in (0.0, 3.0):
        arguments = (PROMPT, padded(chunks, padding), RAW, (2, 8, 4, 2))
        with torch.no_grad():
            losses.append(
                VSTModule(random_model.network)(*arguments, tokens.ids_BJT, tokens.wanted_BJT, tokens.targets_X)
            )
    assert torch.equal(*losses)
