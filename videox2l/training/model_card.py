"""The checkpoint's README, written from the evaluation's numbers so that it cannot disagree with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from videox2l.training.model_config import HIGH_RATIO, LOW_RATIO, TRAINED_RATIOS

_INTRODUCTION = f"""\
---
license: apache-2.0
pipeline_tag: video-text-to-text
tags: [video-x2l, synthetic]
---

# Tiny Video-XL, trained on synthetic clips

A toy-size Video-XL (about 1.5 million weights: CLIP vision tower, projector, Qwen2 language model, VSTs) with the
original's classes, file format and compression mechanism. It exists so that everything in this project runs and answers
correctly without a download, on a CPU, and so that the effect of the two compression levels can be measured honestly.

It knows one world: clips of the project's own renderer (`videox2l/video/synthetic.py`). A clip is a row of scenes of
eight seconds; a scene has a colour and a shape and shows another three-digit code every second. Sample it at 1 frame/s
with 8 frames a chunk; frames are stretched to 64 x 64. It knows nothing else: on any other video its answers are noise.

* Compression: low level {LOW_RATIO}x, high level {HIGH_RATIO}x, the first and last chunk {LOW_RATIO}x at both.
  Trained with ratios {", ".join(map(str, TRAINED_RATIOS))} and mixes of them.
* Questions, in a few phrasings each: *What is the code in second 3 of the red circle scene?* (`4 7 1`), *Is there a red
  circle scene?* (`Yes`/`No`), *Which scene comes right after the blue star scene?* (`the green square`), the first
  and the last scene. Nothing else was trained, counting least of all.
"""

_HOW = """\
## Results on held-out clips

Frames come from renderings that neither vision nor language training saw, sent through H.264. `code` is the share of
right digits (chance .10), asked of inner scenes only, since the first and last are kept in detail at both levels;
`exact` the share of codes with all three right; gist is the share of wholly right answers. KV tokens are those of the
video, without prompt and question. "Everywhere" compresses every chunk equally; bi-level re-loads the low KVs of one
chunk into the high level's. "Random chunk" is the control: a re-loaded chunk stands out from the rest by itself.
"""


def write_model_card(path: Path, results: dict[str, Any]) -> None:
    """Write the card from :func:`videox2l.training.evaluation.evaluate`'s results."""
    rows = results["rows"]
    lengths = sorted({row["scenes"] for row in rows})
    sections = [_INTRODUCTION, _HOW]
    sections += [_length_table(rows, scenes) for scenes in lengths]
    sections += [_recall_table(results), _files_table(results["files"]), _training(results)]
    path.write_text("\n".join(sections))


def _length_table(rows: list[dict[str, Any]], scenes: int) -> str:
    kinds = ("exists", "after", "first", "last")
    lines = [
        f"### {scenes} scenes ({scenes * 8} frames)\n",
        f"| memory | KV tokens | code | exact | {' | '.join(kinds)} |",
        f"| --- | --- | --- | --- |{' --- |' * len(kinds)}",
    ]
    here = [row for row in rows if row["scenes"] == scenes]
    for condition in dict.fromkeys(row["condition"] for row in here):
        by_kind = {row["kind"]: row for row in here if row["condition"] == condition}
        code = by_kind.get("code")
        cells = [condition, str(next(iter(by_kind.values()))["kv_tokens"])]
        cells += [_share(code["digits"]), _share(code["exact"])] if code else ["", ""]
        cells += [_share(by_kind[kind]["exact"]) if kind in by_kind else "" for kind in kinds]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _recall_table(results: dict[str, Any]) -> str:
    relevance, recall = results["relevance"], results["recall_at_1"]
    heads = ", ".join(f"layer {layer} head {head}" for layer, head in relevance["heads"])
    tokens, reduction = relevance["question_tokens"], relevance["reduction"]
    lines = [
        "## Finding the right chunk (recall@1 on codes)\n",
        f"Attention of the question over the high level's memory; best heads (chosen on training clips): {heads};",
        f"question tokens: {tokens}; a chunk's score is the {reduction} over its memory tokens.\n",
        "| scenes | best heads | all heads | random |",
        "| --- | --- | --- | --- |",
    ]
    for scenes, values in recall.items():
        cells = [_share(values[name]) for name in ("best heads", "all heads", "random chunk")]
        lines.append(f"| {scenes} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _files_table(files: list[dict[str, Any]]) -> str:
    if not files:
        return ""
    names = [name for name in files[0] if ", " in name]
    lines = [
        "## End to end on rendered files (exact answers)\n",
        "Rendered to 320 x 240 H.264 at 8 frames/s, decoded, prefilled chunk by chunk, answered by greedy decoding.\n",
        f"| seed | scenes | questions | {' | '.join(names)} |",
        f"| --- | --- | --- |{' --- |' * len(names)}",
    ]
    for entry in files:
        cells = [str(entry[key]) for key in ("seed", "scenes", "questions")]
        cells += [_share(entry[name]) if name in entry else "" for name in names]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _training(results: dict[str, Any]) -> str:
    training, vision = results["training"], dict(results["vision"])
    error = vision.pop("alignment error")
    facts = ", ".join(f"{name} {_share(value)}" for name, value in vision.items())
    return f"""\
## Training

This command makes it, from nothing:

    videox2l train-tiny --steps {training["steps"]} --seed {training["seed"]} --threads {training["threads"]}

Vision first: linear heads on each visual token learn what it shows, right on held-out frames:
{facts}.
Then tokens are drawn to sums of orthogonal vectors, one for each fact (held-out error {error:.3f} of their energy).
Then the language model and VSTs are trained, vision frozen: {training["minutes"]} minutes here. Beside the answers,
attention heads are trained to look where the answer is (`training/pointing.py`); strong compression is trained mostly
with gist questions.

`training_log.json` has the curve, `evaluation.json` all numbers above. The same processor, library versions and thread
count repeat a run bit for bit. Weights are stored in half precision, and evaluated so.
"""


def _share(value: float) -> str:
    return f"{value:.3f}".removeprefix("0") if value < 1 else "1.00"
