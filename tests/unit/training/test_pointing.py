"""Where heads are told to look: the memory tokens that summarise the asked second, and the question's own names."""

import pytest
import torch

from videox2l.models.video_xl.prompt import prefix_ids
from videox2l.training.clips import Batch, QuestionEncoder
from videox2l.training.model_config import TOKENS_PER_CHUNK, new_network, raw_config
from videox2l.training.parallel_prefill import LayerMemory, plan_chunks
from videox2l.training.pointing import (
    COLOUR_HEAD,
    EVIDENCE_HEADS,
    PREVIOUS_HEADS,
    SHAPE_HEAD,
    Look,
    Pointing,
    after_shape_places,
    evidence_spans,
)
from videox2l.training.tokenizer import train_tokenizer
from videox2l.video.synthetic import Question, Scene, SyntheticClip

PROMPT = 14


def code(chunk: int, second: int) -> Question:
    text = f"What is the code in second {second} of the red circle scene?"
    return Question("code", text, "1 2 3", chunk, second)


@pytest.mark.parametrize(
    ("ratios", "question", "span"),
    [
        (None, code(0, 1), (14, 18)),  # the four raw tokens of the first second
        (None, code(1, 8), (14 + 60, 14 + 64)),
        ([2, 2], code(0, 3), (14 + 4, 14 + 6)),  # two VSTs a second
        ([2, 2], code(1, 1), (14 + 16, 14 + 18)),
        ([4, 16], code(0, 8), (14 + 7, 14 + 8)),
        ([4, 16], code(1, 5), (14 + 8 + 1, 14 + 8 + 2)),  # two VSTs a chunk, four seconds each
        ([32, 32], code(1, 8), (15, 16)),
        ([2, 4], Question("after", "What follows the red circle scene?", "the blue star", 1), (14 + 16, 14 + 24)),
    ],
)
def test_evidence_is_where_the_asked_second_went(ratios, question, span) -> None:
    assert tuple(evidence_spans([[question]], ratios, PROMPT)[0, 0].tolist()) == span


def test_existence_has_no_evidence_of_its_own() -> None:
    other = Question("exists", "Is there a red circle scene?", "Yes", 1)
    assert evidence_spans([[other]], [2, 2], PROMPT)[0, 0].tolist() == [0, 0]


@pytest.fixture(scope="module")
def setup():
    tokenizer = train_tokenizer()
    network = new_network(raw_config(tokenizer))
    question = code(1, 2)
    ids, wanted, targets = QuestionEncoder(tokenizer).rows([[question]])
    batch = Batch(torch.zeros(1, 2, TOKENS_PER_CHUNK, 128), [], [[question]], ids, wanted, targets)
    assert len(prefix_ids(tokenizer)) == PROMPT
    return tokenizer, Pointing(network, tokenizer), batch


def looking_right(tokenizer, batch, sharpness: float) -> tuple[list[LayerMemory], list[Look]]:
    """Keys and queries by which every head looks at its target, the more so the larger ``sharpness``."""
    memory_tokens, length = PROMPT + 32, batch.ids_BJT.shape[-1]
    names = [tokenizer(f" {word}", add_special_tokens=False)["input_ids"][0] for word in ("red", "circle")]
    memories, looks = [], []
    for layer in range(4):
        memory = torch.zeros(1, 2, memory_tokens, 32)
        own, queries = torch.zeros(1, 2, 1, length, 32), torch.zeros(1, 4, 1, length, 32)
        memory[..., PROMPT + 18 : PROMPT + 20, 0] = sharpness  # chunk 1, second 2, at 2x
        for dimension, name in enumerate(names, start=1):
            own[..., dimension] = sharpness * (batch.ids_BJT[0] == name).float()
        for (of_layer, head), dimension in {COLOUR_HEAD: 1, SHAPE_HEAD: 2, **dict.fromkeys(EVIDENCE_HEADS, 0)}.items():
            if of_layer == layer:
                queries[:, head, ..., dimension] = sharpness
        memories.append(LayerMemory(memory, memory))
        looks.append(Look(queries, own))
    return memories, looks


def test_loss_vanishes_when_every_head_looks_right(setup) -> None:
    tokenizer, pointing, batch = setup
    right = pointing.loss(batch, *looking_right(tokenizer, batch, 10.0), [2, 2], PROMPT)
    uniform = pointing.loss(batch, *looking_right(tokenizer, batch, 0.0), [2, 2], PROMPT)
    assert right < 1e-3 < 1 < uniform


def test_loss_is_large_when_evidence_heads_look_at_another_scene(setup) -> None:
    tokenizer, pointing, batch = setup
    memories, looks = looking_right(tokenizer, batch, 10.0)
    elsewhere = [LayerMemory(memory.keys_BHMD.roll(-16, dims=2), memory.values_BHMD) for memory in memories]
    assert pointing.loss(batch, elsewhere, looks, [2, 2], PROMPT) > 5


def test_vsts_look_at_the_previous_chunk(setup) -> None:
    _, pointing, _ = setup
    plan = plan_chunks([2, 4, 16], TOKENS_PER_CHUNK, PROMPT)
    (layer, _), heads = PREVIOUS_HEADS[0], [head for _, head in PREVIOUS_HEADS]
    chunk_of_memory = plan.memory_rows_M // plan.vsts

    def loss(shift: int) -> float:
        """Keys of chunk c lie along dimension c; queries of chunk c along dimension c - shift."""
        memory = torch.zeros(1, 2, PROMPT + len(chunk_of_memory), 32)
        memory[0, :, torch.arange(PROMPT, memory.shape[2]), chunk_of_memory] = 10.0
        queries = torch.zeros(1, 4, 3, TOKENS_PER_CHUNK + plan.vsts, 32)
        for chunk in range(3):
            queries[0, heads, chunk, :, (chunk - shift) % 32] = 10.0
        own = torch.zeros(1, 2, 3, TOKENS_PER_CHUNK + plan.vsts, 32)
        looks = [(queries, own)] * (layer + 1)
        return float(pointing.previous_loss([LayerMemory(memory, memory)] * (layer + 1), looks, plan, PROMPT))

    assert loss(1) < 1e-3
    assert loss(2) > 0.3


def test_scenes_after_one_of_the_asked_shape_are_marked() -> None:
    clip = SyntheticClip(
        tuple(
            Scene(colour, shape, ((1, 2, 3),) * 8)
            for colour, shape in (("red", "circle"), ("blue", "star"), ("green", "circle"), ("pink", "moon"))
        )
    )
    after = Question("after", "What follows the red circle scene?", "the blue star", 1)
    other = Question("first", "Which scene comes first?", "the red circle", 0)
    ratios = [2, 16, 16, 2]  # 16, 2, 2 and 16 tokens
    marked = after_shape_places([clip], [[after, other]], ratios, PROMPT)
    assert marked[0, 0].nonzero()[:, 0].tolist() == [PROMPT + 16, PROMPT + 17, *range(PROMPT + 20, PROMPT + 36)]
    assert not marked[0, 1].any()
