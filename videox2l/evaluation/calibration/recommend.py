"""From measurements to a recommendation, and to how far it can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from videox2l.errors import ConfigError
from videox2l.evaluation.calibration.choose import Wanted, by_setting, cheapest, summaries
from videox2l.evaluation.calibration.held_out import held_out
from videox2l.evaluation.calibration.measure import Measurement
from videox2l.models import ModelIdentity
from videox2l.store.calibration import Calibration


def calibrate(
    measurements: Sequence[Measurement], wanted: Wanted, *, identity: ModelIdentity, model: str, reference: str
) -> Calibration:
    """Summarise, recommend the cheapest setting that reaches what is ``wanted``, and estimate how such a choice fares
    on other videos.

    :raises ConfigError: an accuracy is wanted, but no answer is known.
    """
    groups = by_setting(measurements)
    settings = summaries(groups)
    if wanted.accuracy is not None and all(setting.accuracy is None for setting in settings.values()):
        raise ConfigError("an accuracy is wanted, but no question has a known answer: give some in --questions")
    chosen = cheapest(settings, wanted)
    return Calibration(
        model_fingerprint=identity.fingerprint,
        model=model,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        reference=reference,
        videos=len({found.video for found in measurements}),
        questions=max((len(group) for group in groups.values()), default=0),
        wanted_agreement=wanted.agreement,
        wanted_accuracy=wanted.accuracy,
        settings=tuple(settings.values()),
        recommended=None if chosen is None else settings[chosen],
        held_out=held_out(groups, wanted),
    )
