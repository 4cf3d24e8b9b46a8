"""Copies between host and device; those of a GPU where there is one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from videox2l.kv import KV, LEVELS, ChunkKV
from videox2l.models.transfer import HostCopies, to_device

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
DEVICES = [torch.device("cpu"), pytest.param(torch.device("cuda"), marks=gpu)]


def chunk(number: int, device: torch.device, tokens: int = 4) -> ChunkKV:
    """A chunk whose keys are all ``number`` and whose values ``number + 0.5``."""
    shape = (2, 1, tokens, 8)
    keys, values = torch.full(shape, float(number)), torch.full(shape, number + 0.5)
    return {level: KV(keys.to(device), values.to(device)) for level in LEVELS}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_every_chunk_arrives_in_order_with_its_label(device: torch.device, count: int) -> None:
    found = list(HostCopies(device).each((f"chunk {number}", chunk(number, device)) for number in range(count)))
    assert [label for label, _ in found] == [f"chunk {number}" for number in range(count)]
    for number, (_, copy) in enumerate(found):
        for level in LEVELS:
            expected = chunk(number, torch.device("cpu"))[level]
            assert torch.equal(copy.result()[level].keys_LHTD, expected.keys_LHTD)
            assert torch.equal(copy.result()[level].values_LHTD, expected.values_LHTD)


@pytest.mark.parametrize(("device", "ahead"), [(torch.device("cpu"), 0), pytest.param("cuda", 1, marks=gpu)])
def test_how_far_computing_is_ahead(device: torch.device, ahead: int) -> None:
    """On a GPU the next chunk's work is in its queue when a chunk is handed out; elsewhere nothing is late."""
    submitted = 0

    def computed() -> Iterator[tuple[int, ChunkKV]]:
        nonlocal submitted
        for number in range(4):
            submitted += 1
            yield number, chunk(number, torch.device(device))

    for number, _ in HostCopies(torch.device(device)).each(computed()):
        assert submitted == min(number + 1 + ahead, 4)


def test_on_the_host_nothing_is_copied() -> None:
    host = torch.device("cpu")
    kvs, tensor = chunk(0, host), torch.ones(3)
    copy = HostCopies(host).start(kvs)
    assert copy.result() is kvs
    assert copy.seconds == 0
    assert to_device(tensor, host) is tensor


@gpu
def test_a_copy_waits_for_what_was_submitted_before_it() -> None:
    device = torch.device("cuda")
    copies, kvs = HostCopies(device), chunk(0, device, tokens=2**16)
    torch.cuda._sleep(10**8)  # the GPU is busy for some 50 ms before it gets to the next lines
    for kv in kvs.values():
        kv.keys_LHTD.add_(1)
    copy = copies.start(kvs)
    for kv in copy.result().values():
        assert kv.keys_LHTD.is_pinned()
        assert bool((kv.keys_LHTD == 1).all())
    assert copy.seconds > 0
