"""Second stage: train the language model and its VSTs on clips composed from frozen visual tokens."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedTokenizerFast
from transformers.models.qwen2.modeling_qwen2 import Qwen2Attention

from videox2l.models.video_xl.network import VideoXLNetwork
from videox2l.models.video_xl.prompt import prefix_ids
from videox2l.training.clips import Batch, QuestionEncoder, TokenBank, sample_batch
from videox2l.training.curriculum import FIRST_VST_STAGE, STAGES, Stage, StepPlan, plan_step
from videox2l.training.parallel_prefill import answer_logits, full_attention_memory, plan_chunks, prefill
from videox2l.training.pointing import Look, Pointing
from videox2l.training.vision import class_vectors
from videox2l.video.synthetic import SECONDS_PER_SCENE
from videox2l.video.synthetic_frames import COLOURS, SHAPES

LEARNING_RATE = 1.5e-3
_BETAS = (0.9, 0.98)
_WEIGHT_DECAY = 0.01
_WARMUP_STEPS = 60
_CONSTANT_SHARE = 0.6  # of the steps at the full rate, then cosine
_FINAL_RATE = 0.01
_EMA = 0.95  # running accuracies: the last twenty steps or so
_EMBEDDING_STD = 0.2  # near the visual tokens' size, so that neither kind drowns the other in the residual stream
_LIKENESS = 0.5  # of a query head's starting weights to its key head's; at 1 every row would look at itself only
_STATE_FILE = "language-state.pt"


@dataclass
class Progress:
    """Where a run stands; everything a resume needs besides weights, optimizer and random state."""

    step: int = 0
    seconds: float = 0.0
    stage: int = 0
    stage_step: int = 0


def initialise(network: VideoXLNetwork, seed: int) -> None:
    """Starting weights of the language model, scaled for its small width (Qwen2's 0.02 is meant for thousands)."""
    generator = torch.Generator().manual_seed(seed)
    residual_scale = (2 * network.config.text.num_hidden_layers) ** -0.5
    with torch.no_grad():
        for name, parameter in [*network.language_model.named_parameters(), *network.vst.named_parameters()]:
            if "embed" in name:
                parameter.normal_(0.0, _EMBEDDING_STD, generator=generator)
            elif parameter.ndim == 2:
                scale = residual_scale if name.endswith(("o_proj.weight", "down_proj.weight")) else 1.0
                parameter.normal_(0.0, scale * parameter.shape[1] ** -0.5, generator=generator)
            elif name.endswith("bias"):
                parameter.zero_()
        for layer in network.language_model.model.layers:
            _look_for_likeness(layer.self_attn)


def _look_for_likeness(attention: Qwen2Attention) -> None:
    """Let every query head start half way towards its key head, so that attention prefers rows like the asking one.

    Reading a code means matching "second 3" and "red circle" with frames that show them; random heads match nothing.
    """
    head_dim = attention.head_dim
    queries_QDN = attention.q_proj.weight.unflatten(0, (-1, head_dim))
    keys_HDN = attention.k_proj.weight.unflatten(0, (-1, head_dim))
    twins_QDN = keys_HDN.repeat_interleave(len(queries_QDN) // len(keys_HDN), dim=0)
    queries_QDN.mul_((1 - _LIKENESS**2) ** 0.5).add_(_LIKENESS * twins_QDN)


@torch.no_grad()
def name_what_is_seen(network: VideoXLNetwork, tokenizer: PreTrainedTokenizerFast) -> None:
    """Start the words for colours, shapes, seconds and digits as the vectors that visual tokens show them by.

    Looking up "red circle" then begins as a match of like with like, one map for all words, instead of one to be found
    for every word by itself.
    """
    seen = class_vectors(network.config.text.hidden_size)
    vectors = {f" {name}": seen["colour"][index] for index, name in enumerate(COLOURS)}
    vectors |= {f" {name}": seen["shape"][index] for index, name in enumerate(SHAPES)}
    vectors |= {str(digit): seen["digit"][digit] for digit in range(10)}
    for second in range(SECONDS_PER_SCENE):  # numbered from 1, by the same words as digits
        vectors[str(second + 1)] = vectors[str(second + 1)] + seen["second"][second]
    for word, vector_N in vectors.items():
        (token,) = tokenizer(word, add_special_tokens=False)["input_ids"]
        network.language_model.model.embed_tokens.weight[token] = _unit(vector_N)


def _unit(vector_N: torch.Tensor) -> torch.Tensor:
    """As large as other words' embeddings are at the start."""
    return _EMBEDDING_STD * vector_N / vector_N.square().mean().sqrt()


def copy_into_vsts(network: VideoXLNetwork) -> None:
    """Start the VSTs' projections as the ordinary ones, which have learned to read by now."""
    with torch.no_grad():
        for layer, vst in zip(network.language_model.model.layers, network.vst.layers, strict=True):
            for name in ("q_proj", "k_proj", "v_proj"):
                getattr(vst, name).load_state_dict(getattr(layer.self_attn, name).state_dict())


class LanguageTrainer:
    """Training that can stop after any step and go on from its state file."""

    def __init__(
        self,
        network: VideoXLNetwork,
        tokenizer: PreTrainedTokenizerFast,
        bank: TokenBank,
        *,
        steps: int,
        seed: int,
        folder: Path,
        stages: tuple[Stage, ...] = STAGES,
        rate: float = LEARNING_RATE,
        fresh: bool = True,
    ) -> None:
        """``fresh``: from starting weights, not from those that ``network`` has. ``rate``: the highest."""
        self.network, self.bank, self.steps, self.folder, self.stages = network, bank, steps, folder, stages
        self.encoder = QuestionEncoder(tokenizer)
        self.pointing = Pointing(network, tokenizer)
        self.prompt_P = torch.tensor(prefix_ids(tokenizer))
        self.rng = np.random.default_rng([seed, 3])
        self.progress = Progress()
        self.running: dict[str, float] = {}
        self._highest_rate = rate
        if fresh:
            initialise(network, seed)
            name_what_is_seen(network, tokenizer)
        network.vision_tower.requires_grad_(False)
        network.projector.requires_grad_(False)
        parameters = [*network.language_model.parameters(), *network.vst.parameters()]
        self.optimizer = torch.optim.AdamW(parameters, lr=rate, betas=_BETAS, weight_decay=_WEIGHT_DECAY, fused=True)
        self._resume()

    def train(
        self,
        on_step: Callable[[LanguageTrainer, float], None] | None = None,
        *,
        save_every_s: float = 120.0,
    ) -> None:
        """Run to the last step. On Ctrl-C the state is saved before the interrupt goes on."""
        last_save = time.monotonic()
        try:
            while self.used < 1.0:
                began = time.monotonic()
                loss = self._step()
                self.progress.seconds += time.monotonic() - began
                if on_step is not None:
                    on_step(self, loss)
                if time.monotonic() - last_save > save_every_s:
                    self.save()
                    last_save = time.monotonic()
        finally:
            self.save()

    @property
    def used(self) -> float:
        """Share of the steps that are done, from 0 to 1."""
        return min(1.0, self.progress.step / self.steps)

    def _step(self) -> float:
        self._advance_stage()
        plan = plan_step(self.stages[self.progress.stage], self.rng)
        batch = sample_batch(
            self.bank,
            self.encoder,
            clips=plan.clips,
            scenes=plan.scenes,
            questions=plan.questions,
            rng=self.rng,
            code_scenes=plan.code_scenes,
            hard_share=self.stages[self.progress.stage].hard_share,
            code_share=plan.code_share,
            gist=self.stages[self.progress.stage].gist,
        )
        rate = self._rate()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        logits, pointing = self._forward(batch, plan)
        loss = nn.functional.cross_entropy(logits, batch.targets_X)
        self.optimizer.zero_grad(set_to_none=True)
        (loss + pointing).backward()
        nn.utils.clip_grad_norm_(self.optimizer.param_groups[0]["params"], 1.0)
        self.optimizer.step()
        self.progress.step += 1
        self.progress.stage_step += 1
        self._watch(batch, plan, logits)
        return float(loss.detach())

    def _forward(self, batch: Batch, plan: StepPlan) -> tuple[torch.Tensor, torch.Tensor]:
        pointing = torch.zeros(())
        order = self.stages[self.progress.stage].order
        if plan.ratios is None:
            memories, start = full_attention_memory(self.network, self.prompt_P, batch.visual_BCWN)
        else:
            chunks = plan_chunks(plan.ratios, batch.visual_BCWN.shape[2], len(self.prompt_P), plan.gaps)
            seen: list[tuple[torch.Tensor, torch.Tensor]] = []
            memories = prefill(self.network, self.prompt_P, batch.visual_BCWN, chunks, looks_out=seen)
            start = chunks.end
            if order:
                pointing = self.pointing.previous_loss(memories, seen, chunks, len(self.prompt_P))
                self._note("previous loss", pointing.item())
        queries: list[torch.Tensor] = []
        keys: list[torch.Tensor] = []
        logits = answer_logits(
            self.network, memories, start, batch.ids_BJT, batch.wanted_BJT, queries_out=queries, keys_out=keys
        )
        looks = [Look(*pair) for pair in zip(queries, keys, strict=True)]
        questions = self.pointing.loss(batch, memories, looks, plan.ratios, len(self.prompt_P), order=order)
        self._note("pointing loss", questions.item())
        return logits, pointing + questions

    def _watch(self, batch: Batch, plan: StepPlan, logits: torch.Tensor) -> None:
        """Running accuracies: right digits of codes by mode, fully right answers of the other kinds."""
        right_X = (logits.detach().argmax(-1) == batch.targets_X).numpy()
        place = 0
        tallies: dict[str, list[float]] = {}
        for question in (question for of_clip in batch.questions for question in of_clip):
            length = len(self.encoder.answer(question.answer))
            right = right_X[place : place + length]
            place += length
            if question.kind == "code":  # digit, space, digit, space, digit, end of turn
                tallies.setdefault(f"code {plan.mode}", []).append(float(right[0:5:2].mean()))
            else:
                tallies.setdefault(question.kind, []).append(float(right.all()))
        for name, values in tallies.items():
            self._note(name, float(np.mean(values)))

    def _note(self, name: str, now: float) -> None:
        self.running[name] = _EMA * self.running.get(name, now) + (1 - _EMA) * now

    def _advance_stage(self) -> None:
        """Go on to the next stage when this one has done its work or used its time."""
        stage = self.stages[self.progress.stage]
        easiest = "code full" if set(stage.modes) == {"full"} else f"code {stage.ratios[0]}x"
        done = (
            stage.leave_at is not None
            and self.progress.stage_step >= 40  # running values need some steps to mean anything
            and self.running.get(easiest, 0.0) >= stage.leave_at
        )
        if (done or self.used >= stage.end) and self.progress.stage + 1 < len(self.stages):
            self.progress.stage += 1
            self.progress.stage_step = 0
            if self.progress.stage == FIRST_VST_STAGE:
                copy_into_vsts(self.network)

    def _rate(self) -> float:
        warm = min(1.0, (self.progress.step + 1) / _WARMUP_STEPS)
        cooled = max(0.0, (self.used - _CONSTANT_SHARE) / (1 - _CONSTANT_SHARE))
        return self._highest_rate * warm * (_FINAL_RATE + (1 - _FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * cooled)))

    def save(self) -> None:
        """Write the state file; a crash while writing leaves the previous one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        state: dict[str, Any] = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "progress": vars(self.progress),
            "running": self.running,
            "rng": json.dumps(self.rng.bit_generator.state),
        }
        partial = self.folder / f"{_STATE_FILE}.partial"
        torch.save(state, partial)
        partial.replace(self.folder / _STATE_FILE)

    def _resume(self) -> None:
        path = self.folder / _STATE_FILE
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.progress = Progress(**state["progress"])
        self.running = state["running"]
        self.rng.bit_generator.state = json.loads(state["rng"])
