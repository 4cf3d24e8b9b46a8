"""The plain sibling's README, written from the evaluation's numbers so that it cannot disagree with them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

_INTRODUCTION = """\
---
license: apache-2.0
pipeline_tag: video-text-to-text
tags: [video-x2l, synthetic]
---

# Tiny plain: a stock LLaVA-OneVision, trained on synthetic clips

The plain sibling of this project's tiny Video-XL: the same world, the same clips and questions, no VSTs. It is an
ordinary checkpoint of transformers (`LlavaOnevisionForConditionalGeneration`: CLIP vision tower, projector, Qwen2;
about 1.4 million weights), so that the backend for stock models can be tried without a download and its compressors
compared by accuracy.

    videox2l ask clip.mp4 "What is the code in second 3 of the red circle scene?" --model tiny-plain
    videox2l eval compressors

It knows clips of the project's own renderer (`videox2l/video/synthetic.py`) and nothing else: scenes of eight seconds,
each with a colour and a shape, showing another three-digit code every second, sampled at 1 frame/s. Three of a frame's
four visual tokens show a digit that no other token shows. So there is hardly any of the redundancy that compressors of
real video live on, and they lose more here: re-load chunks uncompressed (`--low-ratio 1`) to have codes answered.
"""


def write_plain_card(path: Path, results: Mapping[str, Any]) -> None:
    """Write the card from ``train_plain``'s results."""
    path.write_text("\n".join([_INTRODUCTION, _accuracy(results), _training(results)]))


def _accuracy(results: Mapping[str, Any]) -> str:
    rows = results["rows"]
    suites = list(dict.fromkeys(row["suite"] for row in rows))
    lines = [
        "## Uncompressed, on held-out clips\n",
        "Share of answers that are right word for word, greedy, with 95 % intervals (clips resampled; Wilson's where",
        "all are right or all wrong). Suites as of `videox2l eval suite`: `retrieval` asks for codes.\n",
        f"| scenes | visual tokens | {' | '.join(suites)} |",
        f"| --- | --- |{' --- |' * len(suites)}",
    ]
    for scenes in dict.fromkeys(row["scenes"] for row in rows):
        found = {row["suite"]: row for row in rows if row["scenes"] == scenes}
        cells = [_share(found[suite]) for suite in suites]
        lines.append(f"| {scenes} | {32 * scenes} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _share(row: Mapping[str, Any]) -> str:
    low, high = row["interval"]
    return f"{row['accuracy']:.1%} [{100 * low:.0f} to {100 * high:.0f}], {row['questions']} questions"


def _training(results: Mapping[str, Any]) -> str:
    training, relevance = results["training"], results["relevance"]
    heads = ", ".join(f"layer {layer} head {head}" for layer, head in relevance["heads"])
    return f"""\
## Training

This command makes it, from the bundled tiny model:

    videox2l train-tiny --plain --steps {training["steps"]} --seed {training["seed"]} --threads {training["threads"]}

Vision tower and projector are the tiny model's, weight for weight. The language model starts from the tiny model's
without its VSTs, which answers well up to 16 scenes, and is trained on clips of up to 64 over uncompressed memories
only: {training["minutes"]} minutes here. As there, some attention heads are trained to look where the answer is.

Relevance heads ({heads}; question tokens: {relevance["question_tokens"]}; a chunk's score: {relevance["reduction"]})
were chosen on training clips, over the gist of all compressors.

`training_log.json` has the curve, `evaluation.json` the numbers above. The same processor, library versions and thread
count repeat a run bit for bit. Weights are stored in half precision, and evaluated so.
"""
