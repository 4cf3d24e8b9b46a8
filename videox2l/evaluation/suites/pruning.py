"""Token pruning, the other way to read less: of the low KVs keep so many per layer and KV head, by a score.

Scores follow their papers' formulas, not their authors' code; :func:`press` gives those of ``kvpress``, where that is
installed. All are computed before any question is known, as bi-level archives are.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from videox2l.errors import ConfigError
from videox2l.kv import MixedKV
from videox2l.models import KVCompressibleModel
from videox2l.models.plain.compressors import kvpress
from videox2l.selection import QuestionContext
from videox2l.selection.question import question_queries

PROXY_QUESTION = "Which code is shown in second 4 of the scene?"
"""Of SnapKV's observation window: in the clips' own world, and naming no scene."""

# Neighbouring tokens share their scores by an average this wide, as in SnapKV.
_POOLING = 5

Score = Callable[[KVCompressibleModel, MixedKV], torch.Tensor]
"""``[L, H, T]`` for a memory of T tokens; higher is kept."""


def _newest(_: KVCompressibleModel, memory: MixedKV) -> torch.Tensor:
    return torch.arange(memory.tokens).expand(memory.keys_LHTD.shape[:3])


def _chance(_: KVCompressibleModel, memory: MixedKV) -> torch.Tensor:
    return torch.rand(memory.keys_LHTD.shape[:3], generator=torch.Generator().manual_seed(0))


def _key_norm(_: KVCompressibleModel, memory: MixedKV) -> torch.Tensor:
    """Keys of small norm draw attention (Devoto et al., arXiv 2406.11430)."""
    return -memory.keys_LHTD.norm(dim=-1)


def _key_difference(_: KVCompressibleModel, memory: MixedKV) -> torch.Tensor:
    """Keys unlike the mean direction are kept (KeyDiff, arXiv 2504.15364)."""
    keys_LHTD = F.normalize(memory.keys_LHTD, dim=-1)
    return -F.cosine_similarity(keys_LHTD, keys_LHTD.mean(2, keepdim=True), dim=-1)


def attention_of(model: KVCompressibleModel, memory: MixedKV, question: str) -> torch.Tensor:
    """SnapKV's score (arXiv 2404.14469): attention of a question's tokens, pooled over neighbours."""
    queries_LQWD = _queries(model, memory, question)
    rows = []
    for keys_HTD, queries_QWD in zip(memory.keys_LHTD, queries_LQWD, strict=True):
        queries_HXD = queries_QWD.unflatten(0, (len(keys_HTD), -1)).flatten(1, 2)
        weights_HXT = torch.softmax(queries_HXD @ keys_HTD.mT * keys_HTD.shape[-1] ** -0.5, dim=-1)
        rows.append(F.avg_pool1d(weights_HXT.mean(1), _POOLING, stride=1, padding=_POOLING // 2))
    return torch.stack(rows)


def _queries(model: KVCompressibleModel, memory: MixedKV, question: str) -> torch.Tensor:
    """A question's rotated queries behind the memory, ``[L, Q, W, D]``."""
    layers = range(len(memory.keys_LHTD))
    queries = question_queries(QuestionContext(model, model.question_ids(question), memory), layers)
    return torch.stack([queries[layer] for layer in layers])


def press(name: str) -> Score:
    """The scores of a press of ``kvpress``; the window of those that want one is the typical question.

    Positions are as they were when the video was seen. Raises :class:`ConfigError` for a press that there is not or
    that needs the queries of the video's own tokens, which archives do not keep.
    """
    kvpress.check_press(name)
    if kvpress.PRESSES[name] == "queries":
        raise ConfigError(f"{name} needs the queries of the video's tokens, which are not kept with its KVs")

    def score(model: KVCompressibleModel, memory: MixedKV) -> torch.Tensor:
        window = _queries(model, memory, PROXY_QUESTION) if kvpress.PRESSES[name] == "window" else None
        return kvpress.press_scores(name, memory.keys_LHTD, memory.values_LHTD, window)

    return score


# Name: what decides which tokens stay.
PRUNINGS: dict[str, Score] = {
    "sliding window": _newest,
    "random tokens": _chance,
    "key norm": _key_norm,
    "KeyDiff": _key_difference,
    "SnapKV-like": lambda model, memory: attention_of(model, memory, PROXY_QUESTION),
}


@torch.inference_mode()
def prune(memory: MixedKV, scores_LHT: torch.Tensor, keep: int) -> MixedKV:
    """The prompt and the best ``keep`` other tokens of every layer and KV head, at the positions that they had."""
    # Some scores look at nothing that is on the memory's device.
    scores_LHT = scores_LHT.to(memory.keys_LHTD.device, torch.float32, copy=True)
    scores_LHT[:, :, : memory.prompt_tokens] = torch.inf
    best_LHK = scores_LHT.topk(min(memory.prompt_tokens + keep, memory.tokens), dim=-1).indices.sort(-1).values
    places_LHKD = best_LHK[..., None].expand(*best_LHK.shape, memory.keys_LHTD.shape[-1])
    keys, values = (states.gather(2, places_LHKD) for states in (memory.keys_LHTD, memory.values_LHTD))
    return MixedKV(keys, values, memory.prompt_tokens, ())
