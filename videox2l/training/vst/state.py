"""Saved states of a run: safetensors and JSON in a folder or at an fsspec URL, the JSON last. Nothing is pickled.

A run's folder holds ``run.json``, which says what decides its result, and ``states/<step>/``. The tensors there are
whole, however many workers had a part of them, so that a run may go on with another number of workers or ZeRO stage.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from safetensors.torch import load, save

from videox2l.errors import ConfigError, CorruptDataError
from videox2l.identity import canonical_json, describe_difference
from videox2l.store.documents import checksum
from videox2l.store.storage import Range, Storage

Tensors = dict[str, torch.Tensor]

PARTS = ("weights", "exp_avg", "exp_avg_sq")
"""What is saved of every trained weight: its float32 value and AdamW's two moments, by AdamW's own names."""

_FORMAT = 1
_RUN = "run.json"
_STATES = "states"
_STATE = "state.json"
# One to go on from, and one in case that one's bytes turn out to be damaged.
_KEPT = 2


@dataclass
class TrainingState:
    """Where a run stands: steps done, examples seen, the loss of every step, and the trained weights' tensors.

    There is no random state: order and ratios follow from the seed and the number of examples seen.
    """

    step: int = 0
    seen: int = 0
    losses: list[float] = field(default_factory=list)
    tensors: Mapping[str, Tensors] = field(default_factory=dict)


class RunFolder:
    """The folder of one run."""

    def __init__(self, url: str, storage_options: Mapping[str, Any] | None = None) -> None:
        self.storage = Storage(url, storage_options)

    def claim(self, document: Mapping[str, Any]) -> None:
        """Say what is run here, or check that the run that began here is the same one.

        :raises ConfigError: another one began here; the message says in what it differs.
        """
        data = canonical_json({"format": _FORMAT, **document})
        try:
            self.storage.create(_RUN, data)
            return
        except FileExistsError:
            stored = self._read_json(_RUN)
        difference = describe_difference(stored, json.loads(data), labels=("begun with", "now"))
        if difference:
            raise ConfigError(
                f"another training run began in {self.storage.url}:\n{difference}\nGive its settings to go on with it, "
                "or another --work folder to begin anew."
            )

    def save(self, state: TrainingState) -> None:
        """Store a state; one that is cut off before its end does not count. All but the last two are deleted.

        :raises ArchiveNotWritableError: the storage refused.
        """
        name = f"{state.step:08}"
        sums = {}
        for part in PARTS:
            data = save({key: tensor.contiguous() for key, tensor in state.tensors[part].items()})
            self.storage.write(f"{_STATES}/{name}/{part}.safetensors", data)
            sums[part] = {"bytes": len(data), "xxh3_128": checksum(data)}
        document = {"format": _FORMAT, "step": state.step, "seen": state.seen, "losses": state.losses, "files": sums}
        self.storage.write(f"{_STATES}/{name}/{_STATE}", json.dumps(document).encode())
        for old in self._complete()[:-_KEPT]:
            self.storage.delete_folder(f"{_STATES}/{old}")

    def load(self) -> TrainingState | None:
        """The newest state that is whole; ``None`` where there is no state at all.

        :raises CorruptDataError: there are states, but the bytes of each are not what was written.
        """
        names = self._complete()
        damage: list[str] = []
        for name in reversed(names):
            try:
                return self._load(name)
            except CorruptDataError as error:
                damage.append(str(error))
        if damage:
            raise CorruptDataError("\n".join([*damage, "No state is left to go on from: begin anew elsewhere."]))
        return None

    def _complete(self) -> list[str]:
        names = self.storage.names(_STATES)
        return [name for name in names if self.storage.exists(f"{_STATES}/{name}/{_STATE}")]

    def _load(self, name: str) -> TrainingState:
        document = self._read_json(f"{_STATES}/{name}/{_STATE}")
        if document.get("format") != _FORMAT:
            raise ConfigError(
                f"{self.storage.url}/{_STATES}/{name} was saved in format {document.get('format')!r}, this version "
                f"knows {_FORMAT}: go on with the version that began the run"
            )
        tensors: dict[str, Tensors] = {}
        for part in PARTS:
            path, sums = f"{_STATES}/{name}/{part}.safetensors", document["files"][part]
            try:
                (data,) = self.storage.read_ranges([Range(path, 0, sums["bytes"])])
            except FileNotFoundError as error:
                raise CorruptDataError(f"{path} of {self.storage.url} is missing.") from error
            if len(data) != sums["bytes"] or checksum(data) != sums["xxh3_128"]:
                raise CorruptDataError(f"{path} of {self.storage.url} is not what was written there.")
            tensors[part] = load(bytes(data))
        return TrainingState(document["step"], document["seen"], document["losses"], tensors)

    def _read_json(self, path: str) -> dict[str, Any]:
        try:
            document: dict[str, Any] = json.loads(self.storage.read(path))
        except ValueError as error:
            raise CorruptDataError(f"{path} of {self.storage.url} cannot be read as JSON: {error}") from error
        return document
