"""Queries, keys and values of a stock decoder before RoPE, caught where its own projections give them out.

Hooks stay on the modules and do nothing in threads that catch nothing, so questions can run beside a prefill.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from videox2l.kv import KV


class Caught:
    """What one forward left, layer by layer: ``[heads, T, D]``."""

    def __init__(self) -> None:
        self.states: dict[str, list[torch.Tensor]] = {"q": [], "k": [], "v": []}

    @property
    def kv(self) -> KV:
        return KV(torch.stack(self.states["k"]), torch.stack(self.states["v"]))

    @property
    def queries(self) -> torch.Tensor:
        """Of all layers, ``[L, Q, T, D]``."""
        return torch.stack(self.states["q"])


class Capture:
    """The hooks of one decoder; ``layers`` in order."""

    def __init__(self, layers: Any) -> None:
        self._local = threading.local()
        for layer in layers:
            for which in "qkv":
                self._watch(layer.self_attn, which)

    @contextmanager
    def catch(self) -> Iterator[Caught]:
        """Catch what this thread's forwards (batch size 1) compute meanwhile."""
        caught = self._local.caught = Caught()
        try:
            yield caught
        finally:
            self._local.caught = None

    def _watch(self, attention: nn.Module, which: str) -> None:
        # Where queries and keys are normalised, that is the last step before RoPE.
        source = getattr(attention, f"{which}_norm", None) or getattr(attention, f"{which}_proj")
        head_dim: int = attention.head_dim  # type: ignore[assignment]

        def hook(_module: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
            caught: Caught | None = getattr(self._local, "caught", None)
            if caught is not None:
                states_THD = output.flatten(2)[0].unflatten(1, (-1, head_dim))
                caught.states[which].append(states_THD.transpose(0, 1))

        source.register_forward_hook(hook)
