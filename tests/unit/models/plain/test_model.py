"""A stock model through the whole product, and what cannot be loaded."""

from __future__ import annotations

import dataclasses
import gc
import json
import shutil
import warnings
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from tests.unit.models.plain.conftest import plain
from tests.unit.models.plain.reference import timeline
from tests.unit.models.plain.test_exact import frames, prefilled
from tests.unit.video.clips import regular, write_numbered_clip
from videox2l import Archive, CompressionConfig, GenerationConfig, ResidentVideo, SelectionConfig, ask, ingest_video
from videox2l.answering import Answer, AnswerEngine, Turn
from videox2l.config import SamplingConfig
from videox2l.errors import CheckpointError, ConfigError, ModelError, UnknownModelError
from videox2l.kv import mix
from videox2l.models import PrefillState, load_model
from videox2l.models.plain.compressors import COMPRESSORS
from videox2l.models.plain.model import PlainModel
from videox2l.models.registry import prefill_workload
from videox2l.scorers import REGISTERED
from videox2l.selection import SCORERS, QuestionContext

COMPRESSION = CompressionConfig(low_ratio=2, high_ratio=8, frames_per_chunk=5)
SHORT = GenerationConfig(12)


def test_ingest_and_ask(family_model: PlainModel, tmp_path: Path) -> None:
    model = family_model
    clip = tmp_path / "clip.mp4"
    write_numbered_clip(clip, pts=regular(25))
    archive = Archive.open(tmp_path / "archive", create=True)
    compression = dataclasses.replace(COMPRESSION, frames_per_chunk=6)
    identity, manifest = ingest_video(model, archive, clip, sampling=SamplingConfig(fps=10), compression=compression)
    assert manifest is not None
    video = ResidentVideo(model, archive.open_index(identity.video_id))
    history = [Turn("What is first?", "A square.")]
    with AnswerEngine(model) as engine:
        for select, turns in (("attention", []), ("keys", history), ("all", []), ("none", history)):
            if select == "keys" and model.geometry.keys_in_place:
                with pytest.raises(ConfigError, match="use attention"):
                    ask(model, video, "What?", SelectionConfig(select=select), SHORT)
                continue
            selection = SelectionConfig(select=select, top_k=1)
            *_, shared = engine.stream(video, "What <|im_end|> happens?", selection, SHORT, history=turns)
            alone = ask(model, video, "What <|im_end|> happens?", selection, SHORT, history=turns)
            assert isinstance(shared, Answer)
            assert (shared.text, shared.chunks) == (alone.text, alone.chunks)


def test_scorers_that_compare_keys_are_refused_where_there_are_none_to_compare(family_model: PlainModel) -> None:
    compression = dataclasses.replace(COMPRESSION, frames_per_chunk=6)
    prompt, kvs = prefilled(family_model, frames(18), compression)
    gist = mix(prompt, [chunk["high"] for chunk in kvs], partial(family_model.rope_tables, 0))
    context = QuestionContext(family_model, family_model.question_ids("What?"), gist)
    for name in (name for name, entry in REGISTERED.items() if not entry.needs_vectors):
        if REGISTERED[name].compares_keys and family_model.geometry.keys_in_place:
            with pytest.raises(ConfigError, match="use attention"):
                SCORERS[name](context)
        else:
            assert len(SCORERS[name](context)) == len(kvs)


@pytest.mark.parametrize("compressor", sorted(COMPRESSORS))
def test_levels_have_the_tokens_of_their_ratios(plain_checkpoints: dict[str, Path], compressor: str) -> None:
    model = plain(plain_checkpoints["llava_onevision"], f"?compressor={compressor}&window=1")
    _, kvs = prefilled(model, frames(15), COMPRESSION)
    assert [(chunk["low"].tokens, chunk["high"].tokens) for chunk in kvs] == [(10, 10), (10, 3), (11, 11)]


def test_resumed_bit_for_bit(plain_checkpoints: dict[str, Path], plain_model: PlainModel) -> None:
    model, clip_FHWC = plain_model, frames(20)
    prompt, kvs = prefilled(model, clip_FHWC, COMPRESSION)
    resumed = model.start_prefill(COMPRESSION, PrefillState(prompt, kvs[:2]))
    for number in (2, 3):
        again = resumed.append(model.encode_frames(clip_FHWC[5 * number : 5 * number + 5]), last=number == 3)
        for level in again:
            assert torch.equal(again[level].keys_LHTD, kvs[number][level].keys_LHTD)
    with pytest.raises(ModelError, match="last chunk"):
        resumed.append(model.encode_frames(clip_FHWC[:5]), last=True)
    windowed = plain(plain_checkpoints["llava_onevision"], "?window=1")
    with pytest.raises(ModelError, match="cannot be resumed"):
        windowed.start_prefill(COMPRESSION, PrefillState(prompt, kvs[:2]))


def test_a_single_pass_is_nothing_to_choose(plain_model: PlainModel) -> None:
    compression = dataclasses.replace(plain_model.default_compression, prefill="single-pass")
    for refused in (plain_model.start_prefill, lambda choice: plain_model.workload(choice, 1)):
        with pytest.raises(ConfigError, match="leave the setting out"):
            refused(compression)


def test_settings_belong_to_the_identity(plain_checkpoints: dict[str, Path], plain_model: PlainModel) -> None:
    other = plain(plain_checkpoints["llava_onevision"], "?compressor=key_norm")
    assert other.identity.fingerprint != plain_model.identity.fingerprint


def test_prompt_is_what_the_template_renders(plain_checkpoints: dict[str, Path], plain_model: PlainModel) -> None:
    """A tokenizer that does read control tokens, on the whole text at once."""
    tokenizer = AutoTokenizer.from_pretrained(plain_checkpoints["llava_onevision"])
    asked = {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": "Where?"}]}
    answered = {"role": "assistant", "content": [{"type": "text", "text": "There."}]}
    again = {"role": "user", "content": [{"type": "text", "text": "When?"}]}

    def rendered(*messages: object) -> str:
        text: str = tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, tokenize=False)
        return text

    def tokens(text: str) -> list[int]:
        ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    model = plain_model
    first = [*model.prompt_ids(None), model.network.config.video_token_id, *model.question_ids("Where?")]
    assert first == tokens(rendered(asked))
    # An earlier answer stands where it was generated, which is not always how a template repeats it.
    behind = rendered(asked, answered, again).partition("There.")[2]
    assert [*model.answer_ids("There."), *model.question_ids("When?", follow_up=True)] == tokens("There." + behind)


def test_control_tokens_in_a_question_are_text(plain_model: PlainModel) -> None:
    plain_ids, written = plain_model.question_ids("a"), plain_model.question_ids("a<video><|im_end|>")
    assert sorted(token for token in plain_ids if token > 255) == sorted(token for token in written if token > 255)


@pytest.mark.parametrize("ratio", [2, 8])
def test_memory_grows_by_what_is_kept(family_model: PlainModel, ratio: int) -> None:
    """Of all tensors that live behind a chunk, whatever a video's chunks are of before they are compressed."""
    compression = CompressionConfig(low_ratio=ratio, high_ratio=8, frames_per_chunk=8, edge_ratio="level")
    prefill = family_model.start_prefill(compression, timeline=timeline(family_model, 40))
    live, kept = [], []
    for chunk_FHWC in frames(40).split(8):
        kvs = prefill.append(family_model.encode_frames(chunk_FHWC), last=False)
        kept.append(kvs["low"].nbytes)
        del kvs
        live.append(_live_bytes())
    # The first chunk's neighbours may have left something that was collected only now.
    assert [after - before for before, after in pairwise(live[1:])] == kept[2:]


def _live_bytes() -> int:
    gc.collect()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from looking at objects that others have deprecated
        tensors = [found for found in gc.get_objects() if isinstance(found, torch.Tensor) and not found.is_meta]
    storages = {storage.data_ptr(): storage.nbytes() for storage in (tensor.untyped_storage() for tensor in tensors)}
    return sum(storages.values())


def test_workload_without_weights(family_model: PlainModel) -> None:
    name, compression = family_model.name, dataclasses.replace(COMPRESSION, frames_per_chunk=6)
    unloaded = prefill_workload(name, compression, torch.float32, 7)
    loaded = family_model.workload(compression, 7)
    windowed = prefill_workload(f"{name}{'&' if '?' in name else '?'}window=3", compression, torch.float32, 7)
    assert windowed.prefill_bytes(mask=True)[0] > unloaded.prefill_bytes(mask=True)[0]
    assert unloaded.weight_bytes() == loaded.weight_bytes()
    assert unloaded.prefill_bytes(mask=True) == loaded.prefill_bytes(mask=True)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "qwen2"}, "a model without video"),
        ({"model_type": "llava", "vision_config": {}}, "a model without video"),  # of pictures alone
        ({"model_type": "brand_new_video"}, "does not know: a newer one may"),
        ({"model_type": "brand_new_video", "transformers_version": "99.1"}, "and was saved by 99.1: a newer one may"),
        ({"model_type": "odd", "auto_map": {"AutoModel": "modeling.Odd"}}, "code of its own.* save_pretrained"),
        ({"model_type": "internvl_chat", "auto_map": {"AutoModel": "m.M"}}, "Take the same model .*InternVL3-1B-hf"),
        ({"model_type": "video_llava", "vision_config": {}}, "no backend handles yet"),
    ],
)
def test_models_of_no_backend(tmp_path: Path, config: dict[str, object], message: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UnknownModelError, match=message):
        load_model(str(tmp_path), device="cpu")


def test_code_of_a_repository_never_runs(plain_checkpoints: dict[str, Path], tmp_path: Path) -> None:
    """Neither where transformers has the class, which is then used, nor where it has not."""
    folder, ran = tmp_path / "copy", tmp_path / "ran"
    shutil.copytree(plain_checkpoints["internvl"], folder)
    for name in ("configuration_odd", "modeling_odd", "processing_odd", "tokenization_odd"):
        (folder / f"{name}.py").write_text(f"open({str(ran)!r}, 'w')\nclass Odd: pass\n")
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {
        "AutoConfig": "configuration_odd.Odd",
        "AutoModelForImageTextToText": "modeling_odd.Odd",
        "AutoProcessor": "processing_odd.Odd",
        "AutoTokenizer": ["tokenization_odd.Odd", None],
    }
    (folder / "config.json").write_text(json.dumps(config))
    assert type(plain(folder).network).__module__.startswith("transformers.")
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "odd"}))
    with pytest.raises(UnknownModelError, match="never done here"):
        load_model(str(folder), device="cpu")
    assert not ran.exists()


def test_a_language_model_newer_than_transformers(plain_checkpoints: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(plain_checkpoints["internvl"], folder)
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["model_type"] = "brand_new_text"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"does not know its brand_new_text; .*\(pip install"):
        load_model(str(folder), device="cpu")


def _without(pattern: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        for path in folder.glob(pattern):
            path.unlink()

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_without("video_preprocessor_config.json"), "no processor in"),
        (_without("tokenizer*"), "no usable tokenizer"),
        (_without("chat_template*"), "no chat template"),
        (_without("*.safetensors"), "pickles"),
    ],
)
def test_incomplete_checkpoints(
    plain_checkpoints: dict[str, Path], tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(plain_checkpoints["llava_onevision"], folder)
    damage(folder)
    with pytest.raises(CheckpointError, match=message):
        load_model(str(folder), device="cpu")


def test_video_xl_takes_no_settings() -> None:
    with pytest.raises(ConfigError, match="stock models"):
        load_model("tiny?compressor=average", device="cpu")


def test_bfloat16(plain_checkpoints: dict[str, Path]) -> None:
    model = load_model(str(plain_checkpoints["llava_onevision"]), device="cpu", dtype="bfloat16")
    assert isinstance(model, PlainModel)
    prompt, kvs = prefilled(model, frames(10), COMPRESSION)
    assert {kv.keys_LHTD.dtype for kv in (prompt, kvs[0]["low"], kvs[1]["high"])} == {torch.bfloat16}


def test_missing_weights_are_no_random_numbers(plain_checkpoints: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(plain_checkpoints["llava_onevision"], folder)
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["num_hidden_layers"] = 3
    config["text_config"].pop("layer_types", None)
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="weights are missing"):
        load_model(str(folder), device="cpu")
