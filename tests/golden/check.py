"""Compare our prefill and answering with golden vectors recorded from the reference implementation.

    python -m tests.golden.check FILE_OR_FOLDER…

Each case is ``<case>.json`` beside ``<case>.safetensors``, its weights and its model configuration. One line is printed
a case, with the largest absolute differences; the exit status is 1 when any case is past the tolerance.

A case in which the reference runs into one of its quirks (see :func:`quirk`) is reported by name and not compared.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import DynamicCache, Qwen2ForCausalLM

from videox2l.config import CompressionConfig
from videox2l.kv import KV, LEVELS, mix, reload
from videox2l.models.cache import to_cache
from videox2l.models.video_xl.checkpoint import module_name
from videox2l.models.video_xl.configuration import parse_config
from videox2l.models.video_xl.prefill import VideoXLPrefill
from videox2l.models.video_xl.vst import VSTs

# float32 noise of another summation order is below 5e-6 on these cases; the smallest wrong rule shows as 9e-2.
TOLERANCE = 5e-5
VIDEO_PLACEHOLDER = -200
REFERENCE_EDGE_RATIO = 2  # hard-coded in the reference for the first and last chunk, at both levels


@dataclass(frozen=True)
class Report:
    """The outcome of one case: largest absolute differences, or why it was not compared."""

    name: str
    kv: float = 0.0
    logits: float = 0.0
    wrong_tokens: int = 0
    skipped: str | None = None

    @property
    def ok(self) -> bool:
        return self.skipped is not None or (
            self.kv <= TOLERANCE and self.logits <= TOLERANCE and self.wrong_tokens == 0
        )

    def __str__(self) -> str:
        if self.skipped is not None:
            return f"QUIRK {self.name}: not compared, {self.skipped}"
        differences = f"KV {self.kv:.1e}  logits {self.logits:.1e}  wrong greedy tokens {self.wrong_tokens}"
        return f"{'ok   ' if self.ok else 'FAIL '} {self.name}: {differences}"


def quirk(case: Mapping[str, Any]) -> str | None:
    """Why our rule differs from the reference's on this case, or ``None``.

    The reference carries raw tokens behind a chunk's last VST into the next chunk's count, which shifts that chunk's
    VSTs; and on a chunk without any VST it embeds a placeholder and shifts all later features. We treat each chunk on
    its own. A remainder of the very last chunk is carried nowhere, so it is no quirk.
    """
    lengths = case["chunk_raw_lengths"]
    for level in LEVELS:
        for index, length in enumerate(lengths):
            edge = index in (0, len(lengths) - 1)
            ratio = REFERENCE_EDGE_RATIO if edge else case[f"{level}_ratio"]
            if length < ratio:
                return f"{level} chunk {index} has fewer raw tokens ({length}) than its ratio ({ratio}), so no VST"
            if length % ratio and index < len(lengths) - 1:
                return f"{level} chunk {index} carries {length % ratio} raw tokens of {length} into the next chunk"
    return None


def check_case(path: Path) -> Report:
    """Run one case in float32 and compare everything it recorded."""
    case = json.loads(path.read_text())
    reason = quirk(case)
    if reason is not None:
        return Report(path.stem, skipped=reason)
    golden = load_file(path.with_suffix(".safetensors"))
    language_model, vsts = load_language_model(path.parent / case["config"], path.parent / case["weights"])
    prompt, chunks = run_prefill(case, golden, language_model, vsts)
    kv = max(
        [difference(prompt, golden, "system")]
        + [difference(chunk[level], golden, f"{level}.chunk{i}") for i, chunk in enumerate(chunks) for level in LEVELS]
    )
    logits, wrong = 0.0, 0
    high = [chunk["high"] for chunk in chunks]
    for name, selection in case["decode"].items():
        low = {index: chunks[index]["low"] for index in selection["selected_chunk_idx"] if 0 <= index < len(chunks)}
        mixed = mix(prompt, reload(high, low), lambda n, _: tables(language_model, n))
        if mixed.tokens != selection["cache_len"]:
            return Report(path.stem, kv, float("inf"))
        cache = to_cache(mixed)
        steps = len(golden[f"decode.{name}.greedy_ids"])
        step_logits, question_logits, greedy = decode(language_model, cache, golden["question_ids"], steps)
        logits = max(
            logits,
            largest(question_logits, golden[f"decode.{name}.question_logits"]),
            largest(step_logits, golden[f"decode.{name}.step_logits"]),
        )
        wrong += int((greedy != golden[f"decode.{name}.greedy_ids"]).sum())
    return Report(path.stem, kv, logits, wrong)


def load_language_model(config_path: Path, weights_path: Path) -> tuple[Qwen2ForCausalLM, VSTs]:
    """The language half of a checkpoint: golden cases hand in their visual tokens."""
    config = parse_config(json.loads(config_path.read_text()), vision=None).text
    modules = torch.nn.ModuleDict({"language_model": Qwen2ForCausalLM(config), "vst": VSTs(config)})
    weights = {module_name(name): tensor.float() for name, tensor in load_file(weights_path).items()}
    modules.load_state_dict({name: tensor for name, tensor in weights.items() if name is not None})
    modules.eval().requires_grad_(False)
    language_model, vsts = modules["language_model"], modules["vst"]
    assert isinstance(language_model, Qwen2ForCausalLM)
    assert isinstance(vsts, VSTs)
    return language_model, vsts


def run_prefill(
    case: Mapping[str, Any], golden: Mapping[str, torch.Tensor], language_model: Qwen2ForCausalLM, vsts: VSTs
) -> tuple[KV, list[dict[str, KV]]]:
    """Both passes with the reference's literal edge ratio and its floor rule for remainder tokens."""
    compression = CompressionConfig(
        low_ratio=case["low_ratio"],
        high_ratio=case["high_ratio"],
        edge_ratio=REFERENCE_EDGE_RATIO,
        remainder="floor",
    )
    prompt_ids_T = golden["prompt_ids"]
    video_at = int((prompt_ids_T == VIDEO_PLACEHOLDER).nonzero()[0, 0])
    prefill = VideoXLPrefill(language_model, vsts, prompt_ids_T[:video_at], compression)
    pieces = golden["image_features"].split(case["chunk_raw_lengths"])
    chunks = [dict(prefill.append(piece, last=index == len(pieces) - 1)) for index, piece in enumerate(pieces)]
    return prefill.prompt, chunks


@torch.inference_mode()
def decode(
    language_model: Qwen2ForCausalLM, cache: DynamicCache, question_T: torch.Tensor, steps: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Greedy decoding on the stock model: logits of every step, of every question token, and the tokens."""
    question_logits_TV = language_model(question_T[None], past_key_values=cache).logits[0]
    rows, tokens = [question_logits_TV[-1]], [question_logits_TV[-1].argmax()]
    for _ in range(steps - 1):
        rows.append(language_model(tokens[-1][None, None], past_key_values=cache).logits[0, -1])
        tokens.append(rows[-1].argmax())
    return torch.stack(rows), question_logits_TV, torch.stack(tokens)


def tables(language_model: Qwen2ForCausalLM, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    cos_BTD, sin_BTD = language_model.model.rotary_emb(language_model.lm_head.weight, torch.arange(count)[None])
    return cos_BTD[0], sin_BTD[0]


def difference(kv: KV, golden: Mapping[str, torch.Tensor], name: str) -> float:
    return max(largest(kv.keys_LHTD, golden[f"{name}.k"]), largest(kv.values_LHTD, golden[f"{name}.v"]))


def largest(ours: torch.Tensor, golden: torch.Tensor) -> float:
    """The largest absolute difference; infinite where the shapes differ or a value is not a number."""
    if ours.shape != golden.shape or ours.isnan().any():
        return float("inf")
    return float((ours - golden).abs().max()) if golden.numel() else 0.0


def find_cases(paths: list[Path]) -> Iterator[Path]:
    """Case files in ``paths``: a folder stands for every case in it."""
    for path in paths:
        if path.is_dir():
            yield from sorted(p for p in path.glob("*.json") if not p.name.endswith(".config.json"))
        else:
            yield path.with_suffix(".json")


def main(arguments: list[str] | None = None) -> int:
    """Check every case; 0 when all are within the tolerance, 1 when one is not, 2 when there is none."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden.check", description=__doc__.split("\n\n")[0])
    parser.add_argument("paths", nargs="+", type=Path, metavar="FILE_OR_FOLDER")
    cases = list(find_cases(parser.parse_args(arguments).paths))
    if not cases:
        print("no case files found", file=sys.stderr)
        return 2
    reports = []
    for case in cases:
        reports.append(check_case(case))
        print(reports[-1], flush=True)
    return 0 if all(report.ok for report in reports) else 1


if __name__ == "__main__":
    sys.exit(main())
