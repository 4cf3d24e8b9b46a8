"""Right or wrong, many questions about one memory at a time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import DynamicCache

from videox2l.evaluation.suites.tasks import Task
from videox2l.kv import MixedKV
from videox2l.models import KVCompressibleModel


@torch.inference_mode()
def grade(
    model: KVCompressibleModel, memory: MixedKV, tasks: Sequence[Task], position: int | None = None
) -> list[bool]:
    """Whether the greedy answer to each task is its answer, word for word.

    All tokens of the right answer are scored in one pass: greedy decoding gives it exactly when each is the likeliest
    behind those before it. ``position``: of the question's first token, by default right behind the memory.
    """
    device = model.decoder.device
    rows = [(model.question_ids(task.question), _answer(model, task)) for task in tasks]
    width = max(len(question) + len(answer) for question, answer in rows)
    # Rows are filled up on the right, where causal attention keeps the filling from all that counts.
    ids_BT = torch.tensor([[*q, *a, *[0] * (width - len(q) - len(a))] for q, a in rows], device=device)
    start = memory.tokens if position is None else position
    cache = DynamicCache()
    for layer, (keys_HTD, values_HTD) in enumerate(zip(memory.keys_LHTD, memory.values_LHTD, strict=True)):
        shape = (len(rows), *keys_HTD.shape)
        cache.update(keys_HTD.expand(shape), values_HTD.expand(shape), layer)
    positions_BT = torch.arange(start, start + width, device=device).expand(len(rows), -1)
    likeliest_BT = model.decoder(ids_BT, position_ids=positions_BT, past_key_values=cache).logits.argmax(-1).tolist()
    return [
        likeliest_T[len(question) - 1 : len(question) + len(answer) - 1] == answer
        for likeliest_T, (question, answer) in zip(likeliest_BT, rows, strict=True)
    ]


def _answer(model: KVCompressibleModel, task: Task) -> list[int]:
    ids = model.answer_ids(task.answer)
    end = next(place for place, token in enumerate(ids) if token in model.stop_ids)
    return ids[: end + 1]
