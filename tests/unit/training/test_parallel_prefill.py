"""Training computes all chunks at once; what it trains must be the model that later runs chunk by chunk."""

import pytest
import torch
from transformers import DynamicCache

from videox2l.config import CompressionConfig
from videox2l.kv.chunk import LEVELS, concatenate
from videox2l.kv.rope import rotate
from videox2l.models.video_xl.network import VideoXLNetwork
from videox2l.models.video_xl.prefill import VideoXLPrefill
from videox2l.models.video_xl.prompt import prefix_ids, question_ids
from videox2l.training.model_config import TOKENS_PER_CHUNK, new_network, raw_config
from videox2l.training.parallel_prefill import answer_logits, full_attention_memory, plan_chunks, prefill, tables
from videox2l.training.tokenizer import train_tokenizer

# The largest difference that two orders of summation in float32 may make here.
TOLERANCE = 1e-4
CHUNKS = 4


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer()


@pytest.fixture(scope="module")
def network(tokenizer) -> VideoXLNetwork:
    torch.manual_seed(0)
    network = new_network(raw_config(tokenizer)).eval()
    # Far from its small initial values attention is not uniform, so a wrong mask or position shows.
    with torch.no_grad():
        for parameter in [*network.language_model.parameters(), *network.vst.parameters()]:
            if parameter.ndim == 2:
                parameter.mul_(4)
            else:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return network


@pytest.fixture(scope="module")
def visual() -> torch.Tensor:
    return torch.randn(2, CHUNKS, TOKENS_PER_CHUNK, 128, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("high_ratio", [3, 16, 32])
def test_equals_the_chunk_loop_at_both_levels(network, tokenizer, visual, level, high_ratio) -> None:
    compression = CompressionConfig(low_ratio=2, high_ratio=high_ratio, frames_per_chunk=8)
    prompt = torch.tensor(prefix_ids(tokenizer))
    ratios = [compression.ratio(level, edge=chunk in (0, CHUNKS - 1)) for chunk in range(CHUNKS)]
    plan = plan_chunks(ratios, TOKENS_PER_CHUNK, len(prompt))
    with torch.no_grad():
        memories = prefill(network, prompt, visual, plan)
    for clip in range(len(visual)):
        loop = VideoXLPrefill(network.language_model, network.vst, prompt, compression)
        parts = [loop.append(visual[clip, c], last=c == CHUNKS - 1)[level] for c in range(CHUNKS)]
        expected = concatenate([loop.prompt, *parts])
        assert plan.end == expected.tokens
        rotated = rotate(expected.keys_LHTD, tables(network, torch.arange(expected.tokens)))
        for index, memory in enumerate(memories):
            assert torch.allclose(memory.keys_BHMD[clip], rotated[index], atol=TOLERANCE)
            assert torch.allclose(memory.values_BHMD[clip], expected.values_LHTD[index], atol=TOLERANCE)


def test_questions_see_the_memory_and_themselves_only(network, tokenizer, visual) -> None:
    """The logits equal those of transformers' own forward over the same memory as a KV cache, question by question."""
    prompt = torch.tensor(prefix_ids(tokenizer))
    plan = plan_chunks([2, 16, 8, 2], TOKENS_PER_CHUNK, len(prompt))
    texts = ("Is there a red circle scene?", "Is there a blue star scene?")
    ids_JT = torch.tensor([question_ids(tokenizer, text) for text in texts])
    with torch.no_grad():
        memories = prefill(network, prompt, visual, plan)
        everything = torch.ones(2, *ids_JT.shape, dtype=torch.bool)
        logits = answer_logits(network, memories, plan.end, ids_JT.expand(2, -1, -1), everything)
        logits = logits.unflatten(0, everything.shape)
        for question, ids_T in enumerate(ids_JT):
            cache = DynamicCache()
            for index, memory in enumerate(memories):
                cache.update(memory.keys_BHMD, memory.values_BHMD, index)
            expected = network.language_model(ids_T.expand(2, -1), past_key_values=cache).logits
            assert torch.allclose(logits[:, question], expected, atol=TOLERANCE)


def test_full_attention_memory_is_the_plain_language_model(network, tokenizer, visual) -> None:
    prompt = torch.tensor(prefix_ids(tokenizer))
    with torch.no_grad():
        memories, length = full_attention_memory(network, prompt, visual)
        embedded = network.language_model.model.embed_tokens(prompt).expand(2, -1, -1)
        cache = DynamicCache()
        network.language_model(inputs_embeds=torch.cat([embedded, visual.flatten(1, 2)], dim=1), past_key_values=cache)
    assert length == cache.get_seq_length()
    for index, memory in enumerate(memories):
        assert torch.allclose(memory.keys_BHMD, cache.layers[index].keys, atol=TOLERANCE)
        assert torch.allclose(memory.values_BHMD, cache.layers[index].values, atol=TOLERANCE)


def test_gaps_move_places_in_the_memory_only() -> None:
    plain = plan_chunks([2, 4], TOKENS_PER_CHUNK, prompt_tokens=14)
    gapped = plan_chunks([2, 4], TOKENS_PER_CHUNK, prompt_tokens=14, gaps=[100, 7])
    assert torch.equal(plain.mask_CRX, gapped.mask_CRX)
    assert torch.equal(gapped.memory_positions_M[:16], plain.memory_positions_M[:16] + 100)
    assert torch.equal(gapped.memory_positions_M[16:], plain.memory_positions_M[16:] + 107)
    assert gapped.end == plain.end + 107
