"""What a user can turn about a batch."""

from __future__ import annotations

from dataclasses import dataclass, field

from videox2l.config import GenerationConfig, SelectionConfig
from videox2l.errors import ConfigError


@dataclass(frozen=True)
class BatchSettings:
    """How questions are answered; ``selection`` and ``generation`` where a row does not say otherwise.

    ``actors``: copies of the model, each with ``cpus_per_actor`` and ``gpus_per_actor`` (by default 1 where the device
    is a GPU). ``slots``: answers that each decodes together. ``low_memory_bytes``: low KVs that each keeps for further
    questions. ``mixed_bytes``: the same for mixed KVs. ``part_rows``: answers about a video that are stored together
    while the job runs; so many are asked again where a process is lost, against the number of small files.
    """

    model: str = "tiny"
    device: str | None = None
    dtype: str | None = None
    selection: SelectionConfig = field(default_factory=SelectionConfig)
    generation: GenerationConfig = field(default_factory=GenerationConfig)
    actors: int = 1
    cpus_per_actor: float = 1.0
    gpus_per_actor: float | None = None
    slots: int = 32
    low_memory_bytes: int = 2**30
    mixed_bytes: int = 2**30
    part_rows: int = 256

    def __post_init__(self) -> None:
        for name in ("actors", "slots", "part_rows"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.cpus_per_actor > 0:
            raise ConfigError(f"cpus_per_actor must be above 0, got {self.cpus_per_actor}")
        if self.selection.budget.max_first_token_ms is not None:
            raise ConfigError(
                "a batch takes no budget of milliseconds: its answers would depend on what runs beside them. "
                "Give chunks=N or bytes=N."
            )
        for name in ("gpus_per_actor", "low_memory_bytes", "mixed_bytes"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ConfigError(f"{name} must not be negative, got {value}")
