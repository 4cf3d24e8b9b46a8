"""From measurements to a recommendation: the cheapest setting that is good enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from videox2l.config import to_dict
from videox2l.errors import ConfigError
from videox2l.evaluation.calibration.grid import Setting
from videox2l.evaluation.calibration.measure import Measurement
from videox2l.models import ModelIdentity
from videox2l.store.calibration import CalibratedSetting, Calibration


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


def calibrate(
    measurements: Sequence[Measurement], wanted: Wanted, *, identity: ModelIdentity, model: str, reference: str
) -> Calibration:
    """Summarise, and recommend the setting that reads the fewest bytes of those that reach what is ``wanted``.

    Of equals the one that agrees more often and whose logits are closer.

    :raises ConfigError: an accuracy is wanted, but no answer is known.
    """
    by_setting: dict[Setting, list[Measurement]] = {}
    for found in measurements:
        if found.setting is not None:
            by_setting.setdefault(found.setting, []).append(found)
    settings = tuple(_summary(setting, group) for setting, group in by_setting.items())
    if wanted.accuracy is not None and all(setting.accuracy is None for setting in settings):
        raise ConfigError("an accuracy is wanted, but no question has a known answer: give some in --questions")
    calibration = Calibration(
        model_fingerprint=identity.fingerprint,
        model=model,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        reference=reference,
        videos=len({found.video for found in measurements}),
        questions=len({(found.video, found.question) for found in measurements}),
        wanted_agreement=wanted.agreement,
        wanted_accuracy=wanted.accuracy,
        settings=settings,
        recommended=None,
    )
    good = [setting for setting in settings if calibration.reaches(setting)]
    best = min(good, key=lambda one: (one.bytes_read, -one.agreement, one.kl), default=None)
    return Calibration(**{**vars(calibration), "recommended": best})


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
