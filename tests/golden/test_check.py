"""Our prefill and decoding reproduce the reference's vectors; and the checker notices when they do not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from tests.golden import check

CASES = Path(__file__).parent / "cases"
ALL = sorted(path for path in CASES.glob("p*.json"))
QUIRKS = {"p08_quirk_remainder_2_4", "p09_quirk_zero_beacon_2_16"}


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_case_is_reproduced(path: Path) -> None:
    report = check.check_case(path)
    assert report.ok, str(report)
    assert (report.skipped is not None) == (path.stem in QUIRKS)


@pytest.mark.parametrize("tensor", ["system.v", "high.chunk1.k", "low.chunk2.v", "decode.some.step_logits"])
def test_a_difference_is_noticed(tmp_path: Path, tensor: str, capsys: pytest.CaptureFixture[str]) -> None:
    case = copy_case(tmp_path, "p00_layout_demo_2_4")
    tensors = load_file(case.with_suffix(".safetensors"))
    tensors[tensor].view(-1)[-1] += 1e-4
    save_file(tensors, case.with_suffix(".safetensors"))
    assert check.main([str(tmp_path)]) == 1
    assert "FAIL" in capsys.readouterr().out


def test_not_a_number_is_a_difference(tmp_path: Path) -> None:
    case = copy_case(tmp_path, "p00_layout_demo_2_4")
    weights = tmp_path / "w_pub_a.safetensors"
    tensors = load_file(weights)
    tensors["model.beacon_embed_tokens.weight"][0, 0] = float("nan")
    save_file(tensors, weights)
    assert not check.check_case(case).ok


def test_nothing_to_check_is_not_a_success(tmp_path: Path) -> None:
    assert check.main([str(tmp_path)]) == 2


def copy_case(folder: Path, name: str) -> Path:
    settings = json.loads((CASES / f"{name}.json").read_text())
    for file in (f"{name}.json", f"{name}.safetensors", settings["weights"], settings["config"]):
        shutil.copy(CASES / file, folder / file)
    return folder / f"{name}.json"
