"""How a stock model runs: offloaded, rounded to int8, compiled, in bfloat16; and what is refused."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.unit.models.plain.conftest import plain
from tests.unit.models.plain.reference import timeline
from tests.unit.models.plain.test_exact import DENSE, frames, prefilled
from videox2l import CompressionConfig
from videox2l.errors import ConfigError, ModelError
from videox2l.kv import KV
from videox2l.models import load_model
from videox2l.models.plain.model import PlainModel

COMPRESSION = CompressionConfig(low_ratio=2, high_ratio=8, frames_per_chunk=2)


def low(model: PlainModel) -> KV:
    _, kvs = prefilled(model, frames(6), COMPRESSION)
    return kvs[-1]["low"]


def offload(*modules: str) -> dict[str, str]:
    """A device map that leaves only ``modules`` on disk."""
    language = [
        f"model.language_model.{name}" for name in ("embed_tokens", "norm", "rotary_emb", "layers.0", "layers.1")
    ]
    kept = ["model.vision_tower", "model.multi_modal_projector", "model.image_newline", "lm_head", *language]
    return dict.fromkeys(kept, "cpu") | dict.fromkeys(modules, "disk")


def apart(one: KV, other: KV) -> float:
    """Relative difference of values, of which a model's rounding is a part."""
    difference = (one.values_LHTD.float() - other.values_LHTD.float()).norm()
    return float(difference / other.values_LHTD.float().norm())


def test_a_device_map_that_offloads(
    plain_checkpoints: dict[str, Path], plain_model: PlainModel, tmp_path: Path
) -> None:
    """A layer's weights and the vision tower stay on disk between forwards."""
    pytest.importorskip("accelerate")
    placed = tmp_path / "map.json"
    placed.write_text(json.dumps(offload("model.vision_tower", "model.language_model.layers.1")))
    model = plain(plain_checkpoints["llava_onevision"], f"?device_map={placed}")
    layers = model.decoder.base_model.layers
    assert [next(layer.parameters()).device.type for layer in layers] == ["cpu", "meta"]
    torch.testing.assert_close(low(model).keys_LHTD, low(plain_model).keys_LHTD)
    assert model.identity == plain_model.identity
    assert next(layers[1].parameters()).device.type == "meta"  # and is not left in memory


def test_device_maps_that_cannot_be(plain_checkpoints: dict[str, Path], tmp_path: Path) -> None:
    folder = plain_checkpoints["llava_onevision"]
    with pytest.raises(ConfigError, match="device_map must be one of auto"):
        plain(folder, "?device_map=everywhere")
    if importlib.util.find_spec("accelerate") is None:
        with pytest.raises(ModelError, match="pip install accelerate"):
            plain(folder, "?device_map=auto")
        return
    with pytest.raises(ConfigError, match="cannot be read as JSON"):
        plain(folder, f"?device_map={tmp_path}/none.json")
    placed = tmp_path / "map.json"
    placed.write_text(json.dumps(offload("model.language_model.embed_tokens")))
    with pytest.raises(ModelError, match="keep them in memory"):
        plain(folder, f"?device_map={placed}")


def test_int8_weights(plain_checkpoints: dict[str, Path], plain_model: PlainModel, tmp_path: Path) -> None:
    """Rounded as they are loaded, and read again where a checkpoint was stored so."""
    if importlib.util.find_spec("torchao") is None:
        with pytest.raises(ModelError, match="pip install torchao"):
            plain(plain_checkpoints["llava_onevision"], "?weights=int8")
        return
    rounded = plain(plain_checkpoints["llava_onevision"], "?weights=int8")
    attention = rounded.decoder.base_model.layers[0].self_attn
    assert "Int8" in type(attention.q_proj.weight).__name__
    assert type(rounded.network.model.vision_tower.encoder.layers[0].self_attn.q_proj.weight.data) is torch.Tensor
    assert 1e-4 < apart(low(rounded), low(plain_model)) < 0.05
    assert rounded.identity.fingerprint != plain_model.identity.fingerprint
    stored = tmp_path / "stored"
    shutil.copytree(plain_checkpoints["llava_onevision"], stored)
    rounded.network.save_pretrained(stored)
    again = plain(stored)
    assert "Int8" in type(again.decoder.base_model.layers[0].self_attn.q_proj.weight).__name__
    assert torch.equal(low(again).values_LHTD, low(rounded).values_LHTD)


def test_quantised_checkpoints_need_their_package(plain_checkpoints: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(plain_checkpoints["llava_onevision"], folder)
    config = json.loads((folder / "config.json").read_text())
    for method in ("bitsandbytes", "torchao"):
        config["quantization_config"] = {"quant_method": method, "load_in_8bit": True, "quant_type": "int8_weight_only"}
        (folder / "config.json").write_text(json.dumps(config))
        if importlib.util.find_spec(method) is None:
            with pytest.raises(ModelError, match=rf"quantised \({method}\) needs the package {method}"):
                plain(folder)
        else:
            with pytest.raises(ModelError, match="quantised already"):
                plain(folder, "?weights=int8")


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_compiled(plain_checkpoints: dict[str, Path], plain_model: PlainModel) -> None:
    from torch._dynamo.utils import counters

    counters.clear()
    model = plain(plain_checkpoints["llava_onevision"], "?compile=true")
    compiled, eager = (each.start_prefill(DENSE).prompt for each in (model, plain_model))
    assert counters["stats"]["unique_graphs"] > 0
    assert not counters["graph_break"]
    torch.testing.assert_close(compiled.keys_LHTD, eager.keys_LHTD, atol=1e-5, rtol=1e-4)
    assert model.identity == plain_model.identity


def test_nothing_to_compile_with(plain_checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ModelError, match=r"no no-such-compiler: install one"):
        plain(plain_checkpoints["llava_onevision"], "?compile=true")
    with pytest.raises(ConfigError, match="true or false"):
        plain(plain_checkpoints["llava_onevision"], "?compile=yes")


def test_bfloat16(family_model: PlainModel) -> None:
    model = load_model(family_model.name, device="cpu", dtype="bfloat16")
    assert isinstance(model, PlainModel)
    prompt = model.start_prefill(DENSE, timeline=timeline(model, 6)).prompt
    found = low(model)
    assert prompt.keys_LHTD.dtype == found.values_LHTD.dtype == torch.bfloat16
    assert 1e-4 < apart(found, low(family_model)) < 0.1
