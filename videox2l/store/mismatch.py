"""In words: why no index of a video is the one that was asked for, or why several are."""

from __future__ import annotations

from videox2l.errors import VideoNotFoundError
from videox2l.identity import canonical_json, describe_difference
from videox2l.store.manifest import Manifest
from videox2l.store.spec import IndexSpec


def several_fit(manifests: list[Manifest]) -> str:
    """How these indexes of one video differ from the first of them."""
    first, *others = manifests
    lines = [f"{first.video.name} has {len(manifests)} indexes that fit; choose one by its settings or its index id:"]
    lines.append(f"{first.index_fp} ({first.created})")
    for other in others:
        difference = first.spec.difference(other.spec, labels=("the first", "this one"))
        lines.append(f"{other.index_fp} ({other.created})")
        lines += [f"  {line}" for line in difference.splitlines()]
    return "\n".join(lines)


def none_fits(
    stored: list[Manifest], model_fingerprint: str | None, spec: IndexSpec | None, index_fp: str | None
) -> str:
    """How the stored indexes of a video differ from what was asked for: a model, a spec or an index, where given.

    :raises VideoNotFoundError: nothing is stored any more.
    """
    if not stored:
        raise VideoNotFoundError("the video's last index has just been removed. Ingest it again.")
    name = stored[0].video.name
    remedy = "Ingest the video with what you asked for, or ask with what is stored."
    if spec is not None:
        # The nearest stored index gives the shortest and most telling list.
        nearest = min(stored, key=lambda manifest: len(manifest.spec.difference(spec).splitlines()))
        model_fingerprint = model_fingerprint or spec.model_fingerprint
        what = "another model" if nearest.spec.model_fingerprint != model_fingerprint else "other settings"
        lines = nearest.spec.difference(spec).splitlines()
    elif model_fingerprint is not None:
        what = "another model"
        lines = [
            describe_difference(
                {"model_fingerprint": manifest.spec.model_fingerprint}, {"model_fingerprint": model_fingerprint}
            )
            + f"; the stored one is {canonical_json(manifest.spec.model).decode()}"
            for manifest in stored
        ]
    else:
        return f"{name}: no index {index_fp}. There are: {', '.join(manifest.index_fp for manifest in stored)}."
    return "\n".join([f"{name}: the archive was made with {what}:", *(f"  {line}" for line in lines), remedy])
