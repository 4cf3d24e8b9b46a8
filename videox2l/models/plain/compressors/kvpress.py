"""Scores of NVIDIA's ``kvpress``, which comes as an extra: ``compressor=kvpress:KnormPress``.

Only a press's ``score`` is used, layer by layer on what a chunk left. Its hooks are not: version 0.5.5 waits there for
an argument (``cache_position``) that our transformers passes no longer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from types import SimpleNamespace
from typing import Any, Literal

import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from videox2l.errors import ConfigError
from videox2l.models.plain.compressors.chunk import Compressor, DenseChunk, grouped, scored

PREFIX = "kvpress:"

Wants = Literal["keys", "queries", "window"]
"""What a press looks at beside keys and values: nothing, the queries of the same tokens, or attention from a window of
later tokens."""


@dataclass(frozen=True)
class _Press:
    wants: Wants
    arguments: Mapping[str, Any] = field(default_factory=dict)
    least: int = 1
    """Tokens below which it does not compress as it says."""


# Add a press: one line here, if its scores depend on what it is given alone. Left out are those that draw random
# numbers (their KVs would differ from run to run), download weights, want the whole attention matrix, or choose how
# much a layer keeps. No press gets sinks: those are the video's prompt, which always stays, and not each chunk's start.
_PRESSES: dict[str, _Press] = {
    "KnormPress": _Press("keys"),
    "KeyDiffPress": _Press("keys"),
    "CURPress": _Press("keys", {"num_sinks": 0}),
    # It scores a stretch of 128 tokens by the next one.
    "LagKVPress": _Press("keys", {"n_sink": 0}, least=256),
    "ExpectedAttentionPress": _Press("queries", {"n_sink": 0}),
    "NonCausalAttnPress": _Press("queries"),
    "SnapKVPress": _Press("window"),
    "TOVAPress": _Press("window"),
}
PRESSES: Mapping[str, Wants] = {name: press.wants for name, press in _PRESSES.items()}


def check_press(name: str) -> None:
    """:raises ConfigError: there is no such press, or ``kvpress`` is not installed."""
    if name not in _PRESSES:
        raise ConfigError(f"no press {name!r}: of kvpress there are {', '.join(_PRESSES)}")
    _module()


def version() -> str:
    """Of the installed package: part of a model's identity, as another one may score differently."""
    from importlib.metadata import version as installed

    _module()
    return installed("kvpress")


def press_scores(
    name: str, keys_LHTD: torch.Tensor, values_LHTD: torch.Tensor, queries_LQXD: torch.Tensor | None = None
) -> torch.Tensor:
    """The press's scores ``[L, H, T]`` in float32; higher is kept.

    ``queries_LQXD``: for a press that wants queries, those of the same T tokens; for one that wants a window, those of
    later tokens. Positions are as in what is given: of states before RoPE, content alone is compared.

    :raises ConfigError: there is no such press, ``kvpress`` is not installed, or these are too few tokens for it.
    """
    check_press(name)
    press = _PRESSES[name]
    tokens = keys_LHTD.shape[2]
    if tokens < press.least:
        raise ConfigError(f"{name} needs {press.least} tokens at a time, but got {tokens}: take longer chunks")
    if press.wants != "keys" and queries_LQXD is None:
        raise ValueError(f"{name} needs queries")
    score = _windowed if press.wants == "window" else _direct
    rows = []
    for layer, (keys_HTD, values_HTD) in enumerate(zip(keys_LHTD.float(), values_LHTD.float(), strict=True)):
        queries_QXD = None if queries_LQXD is None else queries_LQXD[layer].float()
        rows.append(score(name, keys_HTD, values_HTD, queries_QXD))
    return torch.stack(rows).float()


@cache
def compressor(name: str) -> Compressor:
    """The press as a compressor; the window of those that want one are the chat template's tokens before the video."""

    def score(chunk: DenseChunk) -> torch.Tensor:
        wants = PRESSES[name]
        queries = chunk.proxy_LQPD if wants == "window" else chunk.queries_LQTD
        return press_scores(name, chunk.kv.keys_LHTD, chunk.kv.values_LHTD, None if wants == "keys" else queries)

    check_press(name)
    return scored(score)


def _made(name: str, **more: Any) -> Any:
    return getattr(_module(), name)(**_PRESSES[name].arguments, **more)


def _direct(
    name: str, keys_HTD: torch.Tensor, values_HTD: torch.Tensor, queries_QTD: torch.Tensor | None
) -> torch.Tensor:
    # A press asks the attention layer for the queries of hidden states. Here the hidden states are the queries, and the
    # rotation by which it moves them changes nothing.
    heads, tokens, dim = keys_HTD.shape
    hidden_1TX = keys_HTD.new_zeros(1, tokens, dim) if queries_QTD is None else _joined(queries_QTD)

    def unrotated(_: torch.Tensor, positions_1T: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        ones_1TD = keys_HTD.new_ones(1, positions_1T.shape[-1], dim)
        return ones_1TD, torch.zeros_like(ones_1TD)

    layer = SimpleNamespace(
        config=SimpleNamespace(num_attention_heads=hidden_1TX.shape[-1] // dim, num_key_value_heads=heads),
        head_dim=dim,
        q_proj=lambda hidden: hidden,
        rotary_emb=unrotated,
    )
    rotation = unrotated(keys_HTD, torch.arange(tokens)[None])
    found_1HT: torch.Tensor = _made(name).score(
        layer, hidden_1TX, keys_HTD[None], values_HTD[None], None, {"position_embeddings": rotation}
    )
    return found_1HT[0]


def _windowed(
    name: str, keys_HTD: torch.Tensor, values_HTD: torch.Tensor, queries_QXD: torch.Tensor | None
) -> torch.Tensor:
    # A press takes the last tokens of what it scores for its window. So the window is put behind the chunk, with the
    # attention that it pays, and left out of the scores again.
    assert queries_QXD is not None, "checked by the caller"
    heads, tokens, dim = keys_HTD.shape
    window = queries_QXD.shape[1]
    queries_HGXD = grouped(queries_QXD[None], heads)[0]
    logits_HGXT = queries_HGXD @ keys_HTD[:, None].transpose(-1, -2) * dim**-0.5
    attention_QXT = logits_HGXT.softmax(-1).flatten(0, 1)
    padded = [torch.nn.functional.pad(states, (0, 0, 0, window)) for states in (keys_HTD, values_HTD)]
    paid_1QXT = torch.nn.functional.pad(attention_QXT, (0, window))[None]
    config = SimpleNamespace(num_attention_heads=queries_QXD.shape[0], num_key_value_heads=heads)
    layer = SimpleNamespace(config=config, head_dim=dim)
    if name == "TOVAPress":  # its window is the last token alone
        padded, paid_1QXT = [states[:, : tokens + 1] for states in padded], paid_1QXT[:, :, -1:, : tokens + 1]
        press = _made(name)
    else:
        press = _made(name, window_size=window)
    hidden_1TX = keys_HTD.new_zeros(1, padded[0].shape[1], 1)
    found_1HT: torch.Tensor = press.score(layer, hidden_1TX, padded[0][None], padded[1][None], paid_1QXT, {})
    return found_1HT[0, :, :tokens]


def _joined(queries_QTD: torch.Tensor) -> torch.Tensor:
    """Heads beside each other, as a projection gives them: ``[1, T, Q * D]``."""
    return queries_QTD.transpose(0, 1).flatten(1)[None]


@cache
def _module() -> Any:
    own = dict(ALL_ATTENTION_FUNCTIONS.items())
    try:
        import kvpress
    except ImportError as error:
        raise ConfigError(
            "kvpress, or what it needs, is not installed. Without its own wish for an older transformers, which its "
            "scores do not need: pip install 'videox2l[kvpress]' && pip install --no-deps kvpress==0.5.5"
        ) from error
    # When it is imported it wraps all attention functions of transformers, for presses that are not used here; the
    # wrappers do not pass on what ours are given.
    for name, function in own.items():
        ALL_ATTENTION_FUNCTIONS[name] = function
    return kvpress
