from __future__ import annotations

import torch

from videox2l.answering.batch.tails import TailSegment
from videox2l.answering.conversations import Conversations

TOKEN_BYTES = 2 * 4  # one layer, one head, one number, float32; keys and values


def kvs(ids: list[int]) -> TailSegment:
    """Tells which ids it is of."""
    numbers_LHTD = torch.tensor(ids, dtype=torch.float32)[None, None, :, None]
    return TailSegment(numbers_LHTD, -numbers_LHTD)


def ids_of(found: TailSegment | None) -> list[int]:
    return [] if found is None else found.keys_LHTD.flatten().int().tolist()


def test_the_longest_beginning_that_is_kept() -> None:
    conversations = Conversations(1000)
    for ids in ([1, 2, 3], [1, 2, 9, 9], [7]):
        conversations.keep("memory", ids, kvs(ids))
    assert ids_of(conversations.find("memory", [1, 2, 3, 4, 5])) == [1, 2, 3]
    assert ids_of(conversations.find("memory", [1, 2, 9, 4])) == [1, 2, 9]
    assert ids_of(conversations.find("memory", [5, 1, 2, 3])) == []
    assert ids_of(conversations.find("another memory", [1, 2, 3, 4])) == []


def test_the_last_token_is_always_run() -> None:
    """Its logits are the answer's first token."""
    conversations = Conversations(1000)
    conversations.keep("memory", [1, 2, 3], kvs([1, 2, 3]))
    assert ids_of(conversations.find("memory", [1, 2, 3])) == [1, 2]
    assert conversations.find("memory", [1]) is None


def test_a_longer_conversation_takes_the_place_of_its_beginning() -> None:
    conversations = Conversations(1000)
    for length in (2, 4, 6):
        ids = list(range(length))
        conversations.keep("memory", ids, kvs(ids))
    assert (conversations.stats().values, conversations.stats().bytes) == (1, 6 * TOKEN_BYTES)


def test_within_the_budget_the_least_recently_used_goes_first() -> None:
    conversations = Conversations(6 * TOKEN_BYTES)
    conversations.keep("memory", [1, 1, 1], kvs([1, 1, 1]))
    conversations.keep("memory", [2, 2, 2], kvs([2, 2, 2]))
    assert ids_of(conversations.find("memory", [1, 1, 1, 1])) == [1, 1, 1]
    conversations.keep("memory", [3, 3, 3], kvs([3, 3, 3]))
    assert conversations.find("memory", [2, 2, 2, 2]) is None
    assert ids_of(conversations.find("memory", [1, 1, 1, 1])) == [1, 1, 1]
    conversations.keep("memory", [0] * 7, kvs([0] * 7))  # larger than the budget
    assert (conversations.stats().values, conversations.stats().bytes) == (2, 6 * TOKEN_BYTES)
    assert (conversations.stats().hits, conversations.stats().misses) == (2, 1)
