"""What was found out about a model's settings: which of them answer as the whole video does.

One small document for each model, beside the archive's others. It decides no number that is stored; losing it costs the
warnings of those who serve outside of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from videox2l.config import SelectionConfig
from videox2l.errors import ArchiveError, ArchiveFormatError
from videox2l.kv.chunk import Level
from videox2l.store import documents, layout
from videox2l.store.documents import seal, unseal
from videox2l.store.storage import Storage

_FINGERPRINT = re.compile("[0-9a-f]{1,64}")

# What users say themselves, or what reads everything: nothing to be calibrated.
_NO_CHOICE = re.compile(r"all|[\d,\s-]+")


@dataclass(frozen=True)
class CalibratedSetting:
    """One setting and how it fared against the reference.

    ``codec`` is that of both levels. ``select``, ``top_k``: as of a :class:`~videox2l.SelectionConfig`. ``agreement``:
    share of the reference's greedy answers that it gives, token for token. ``kl``: mean over these tokens, in nats.
    ``logit_difference``: the largest. ``accuracy``: over the questions with known answers. ``bytes_read``: a question's
    mean, of encoded KVs.
    """

    compression: Mapping[str, Any]
    codec: str
    select: str
    top_k: int
    agreement: float
    kl: float
    logit_difference: float
    bytes_read: int
    accuracy: float | None = None

    def reaches(self, agreement: float, accuracy: float | None) -> bool:
        """Whether it is as good as that. Without known answers no accuracy is reached."""
        return self.agreement >= agreement and (accuracy is None or (self.accuracy or 0.0) >= accuracy)

    @property
    def words(self) -> str:
        """Such as ``ratios 2 and 16, raw, attention of 2 chunks``."""
        ratios = f"ratios {self.compression['low_ratio']} and {self.compression['high_ratio']}, {self.codec}"
        return f"{ratios}, {selection_words(self.select, self.top_k)}"


@dataclass(frozen=True)
class HeldOut:
    """How the recommendation fares on videos that it was not made from.

    For every video a setting is recommended from all other videos, and asked this one's questions. ``agreement``: share
    of all questions that agree. ``interval``: of it, by Wilson's score at 95 %, lower end first. ``without_setting``:
    questions about videos from whose others nothing could be recommended; they count as no agreement.
    """

    agreement: float
    interval: tuple[float, float]
    without_setting: int

    @property
    def words(self) -> str:
        """Such as ``97.2% (90%–99%)``."""
        low, high = self.interval
        return f"{self.agreement:.1%} ({low:.0%}–{high:.0%})"


@dataclass(frozen=True)
class Calibration:
    """All settings that were tried on one model, and the one that is recommended, if any reached what was wanted.

    ``held_out`` is ``None`` where there were fewer than two videos, and in documents from before it was estimated.
    """

    model_fingerprint: str
    model: str
    created: str
    reference: str
    videos: int
    questions: int
    wanted_agreement: float
    wanted_accuracy: float | None
    settings: tuple[CalibratedSetting, ...]
    recommended: CalibratedSetting | None
    held_out: HeldOut | None = None

    def reaches(self, setting: CalibratedSetting) -> bool:
        """Whether it is as good as was wanted."""
        return setting.reaches(self.wanted_agreement, self.wanted_accuracy)

    @property
    def words(self) -> str:
        """What is recommended, and how often it agrees on other videos than it was made from."""
        if self.recommended is None:
            return "no setting was good enough"
        held_out = "" if self.held_out is None else f"; held out, {self.held_out.words} agree"
        return f"recommended is {self.recommended.words}{held_out}"

    def outside(
        self, compression: Mapping[str, Any], codecs: Mapping[Level, str], selection: SelectionConfig
    ) -> str | None:
        """What about these settings was not found good enough, as a sentence; ``None`` where all is well."""
        best = self.recommended
        advice = "none was good enough" if best is None else f"recommended is {best.words}"
        same = [
            setting
            for setting in self.settings
            if dict(setting.compression) == dict(compression) and set(codecs.values()) == {setting.codec}
        ]
        if not same:
            ratios = f"ratios {compression['low_ratio']} and {compression['high_ratio']}"
            return (
                f"{ratios} in {compression['frames_per_chunk']} frames a chunk (edge ratio "
                f"{compression['edge_ratio']}), stored as {'/'.join(dict.fromkeys(codecs.values()))}, were not "
                f"calibrated: {advice}"
            )
        if _NO_CHOICE.fullmatch(selection.select):
            return None
        asked = selection_words(selection.select, selection.top_k)
        of_scorer = [setting for setting in same if setting.select == selection.select]
        if not of_scorer:
            return f"{asked} was not calibrated: {advice}"
        if any(self.reaches(setting) and setting.top_k <= selection.top_k for setting in of_scorer):
            return None
        tried = [setting for setting in of_scorer if setting.top_k == selection.top_k]
        found = f"agreed in {tried[0].agreement:.0%}" if tried else "is not among the numbers that were good enough"
        return f"{asked} {found}, where {self.wanted_agreement:.0%} were wanted: {advice}"

    def to_document(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self) | {"settings": [asdict(setting) for setting in self.settings]}

    @classmethod
    def from_document(cls, document: Mapping[str, Any], where: str) -> Calibration:
        """:raises ArchiveFormatError: a field is missing or of another kind."""
        get = documents.field
        best, held_out = document.get("recommended"), document.get("held_out")
        wanted = document.get("wanted_accuracy")
        return cls(
            model_fingerprint=documents.matching(document, "model_fingerprint", _FINGERPRINT, where),
            model=get(document, "model", str, where),
            created=get(document, "created", str, where),
            reference=get(document, "reference", str, where),
            videos=documents.count(document, "videos", where),
            questions=documents.count(document, "questions", where),
            wanted_agreement=get(document, "wanted_agreement", float, where),
            wanted_accuracy=None if wanted is None else get(document, "wanted_accuracy", float, where),
            settings=tuple(_setting(item, where) for item in get(document, "settings", list, where)),
            recommended=None if best is None else _setting(best, where),
            held_out=None if held_out is None else _held_out(held_out, where),
        )


def selection_words(select: str, top_k: int) -> str:
    """A selection in words: ``attention of 2 chunks``, ``high only``, ``low only``."""
    if select in ("none", "all"):
        return {"none": "high only", "all": "low only"}[select]
    return f"{select} of {top_k} chunk{'' if top_k == 1 else 's'}"


def store(storage: Storage, calibration: Calibration) -> None:
    """Put it in the place of the model's earlier one, whole or not at all.

    :raises ArchiveNotWritableError: writing is refused.
    """
    storage.write(layout.calibration(calibration.model_fingerprint), seal(calibration.to_document()))


def load(storage: Storage, model_fingerprint: str) -> Calibration | None:
    """The model's calibration, if it has one.

    :raises ArchiveError: it is damaged, or cannot be read.
    """
    path = layout.calibration(model_fingerprint)
    try:
        document = unseal(storage.read(path), f"{storage.url}/{path}")
    except FileNotFoundError:
        return None
    found = Calibration.from_document(document, path)
    if found.model_fingerprint != model_fingerprint:
        raise ArchiveFormatError(f"{storage.url}/{path} belongs to another model: it was copied or renamed by hand.")
    return found


def others(storage: Storage) -> list[str]:
    """Fingerprints of all models that were calibrated."""
    return sorted(name.removesuffix(".json") for name in storage.names(layout.CALIBRATIONS) if name.endswith(".json"))


class CalibrationWatch:
    """Says once what runs outside of an archive's calibration. For one model; reads the archive when it is first asked.

    A calibration that cannot be read is as good as none, and said once.
    """

    def __init__(self, storage: Storage, model_fingerprint: str) -> None:
        self._storage, self._fingerprint = storage, model_fingerprint
        self._said: set[str] = set()
        self._found: tuple[Calibration | None, str] | None = None

    @property
    def calibration(self) -> Calibration | None:
        return self._read()[0]

    @property
    def state(self) -> str:
        """``calibrated``, ``none``, ``other model`` or ``unreadable``."""
        return self._read()[1]

    def news(
        self, compression: Mapping[str, Any], codecs: Mapping[Level, str], selection: SelectionConfig
    ) -> list[str]:
        """What is to be said of these settings and was not said before."""
        calibration, state = self._read()
        if calibration is not None:
            said = calibration.outside(compression, codecs, selection)
        elif state == "other model":
            said = (
                f"the archive was calibrated for other models, not for {self._fingerprint[:12]}: run `videox2l "
                "calibrate` with this one"
            )
        else:
            said = "the archive's calibration cannot be read: run it again" if state == "unreadable" else None
        if said is None or said in self._said:
            return []
        self._said.add(said)
        return [said]

    def _read(self) -> tuple[Calibration | None, str]:
        if self._found is None:
            try:
                found = load(self._storage, self._fingerprint)
                if found is not None:
                    self._found = (found, "calibrated")
                else:
                    self._found = (None, "other model" if others(self._storage) else "none")
            except ArchiveError:
                self._found = (None, "unreadable")
        return self._found


def _held_out(document: Any, where: str) -> HeldOut:
    ends = documents.field(document, "interval", list, where)
    if len(ends) != 2 or not all(type(end) in (int, float) for end in ends):
        raise ArchiveFormatError(f"{where}: field 'interval' should be two numbers. Calibrate again.")
    return HeldOut(
        agreement=documents.field(document, "agreement", float, where),
        interval=(float(ends[0]), float(ends[1])),
        without_setting=documents.count(document, "without_setting", where),
    )


def _setting(document: Any, where: str) -> CalibratedSetting:
    get = documents.field
    accuracy = get(document, "accuracy", float, where) if document.get("accuracy") is not None else None
    compression = get(document, "compression", dict, where)
    for name in ("low_ratio", "high_ratio", "frames_per_chunk"):
        documents.count(compression, name, where)
    return CalibratedSetting(
        compression=compression,
        codec=get(document, "codec", str, where),
        select=get(document, "select", str, where),
        top_k=documents.count(document, "top_k", where),
        agreement=get(document, "agreement", float, where),
        kl=get(document, "kl", float, where),
        logit_difference=get(document, "logit_difference", float, where),
        bytes_read=documents.count(document, "bytes_read", where),
        accuracy=accuracy,
    )
