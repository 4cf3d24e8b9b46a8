"""The rule of choice: the cheapest setting that is good enough."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from videox2l.config import to_dict
from videox2l.errors import ConfigError
from videox2l.evaluation.calibration.grid import Setting
from videox2l.evaluation.calibration.measure import Measurement
from videox2l.store.calibration import CalibratedSetting

Groups = Mapping[Setting, Sequence[Measurement]]
"""What was measured of each setting: one item for each question."""


@dataclass(frozen=True)
class Wanted:
    """``agreement``: share of the reference's answers that a setting has to give. ``accuracy``: of known answers."""

    agreement: float = 0.95
    accuracy: float | None = None

    def __post_init__(self) -> None:
        for name in ("agreement", "accuracy"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ConfigError(f"{name} must be from 0 to 1, got {value}")


def by_setting(measurements: Iterable[Measurement]) -> Groups:
    """Grouped; what was measured of the reference itself is left out."""
    groups: dict[Setting, list[Measurement]] = {}
    for found in measurements:
        if found.setting is not None:
            groups.setdefault(found.setting, []).append(found)
    return groups


def summaries(groups: Groups) -> dict[Setting, CalibratedSetting]:
    """Each setting's means over its questions, of which it has at least one."""
    return {setting: _summary(setting, group) for setting, group in groups.items()}


def cheapest(settings: Mapping[Setting, CalibratedSetting], wanted: Wanted) -> Setting | None:
    """The setting that reads the fewest bytes of those that reach what is ``wanted``; ``None`` where none does.

    Of equals the one that agrees more often and whose logits are closer.
    """

    def price(setting: Setting) -> tuple[float, float, float]:
        one = settings[setting]
        return one.bytes_read, -one.agreement, one.kl

    good = (setting for setting, one in settings.items() if one.reaches(wanted.agreement, wanted.accuracy))
    return min(good, key=price, default=None)


def _summary(setting: Setting, group: Sequence[Measurement]) -> CalibratedSetting:
    count = len(group)
    known = [found.right for found in group if found.right is not None]
    return CalibratedSetting(
        compression=to_dict(setting.compression),
        codec=setting.codec,
        select=setting.select,
        top_k=setting.top_k,
        agreement=sum(found.agrees for found in group) / count,
        kl=sum(found.kl for found in group) / count,
        logit_difference=max(found.logit_difference for found in group),
        bytes_read=round(sum(found.bytes_read for found in group) / count),
        accuracy=sum(known) / len(known) if known else None,
    )
