"""What a job must know of its model before it starts, found out where the model will run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ray
from ray.exceptions import RayTaskError

from pipelines.ingest.job import ModelChoice, ModelFacts
from pipelines.ingest.memory import Share, actor_memory
from videox2l.config import CompressionConfig, SamplingConfig
from videox2l.kv import Level
from videox2l.models import load_model
from videox2l.models.registry import placement
from videox2l.parallel.backend import check_deepspeed
from videox2l.prefill import index_spec


def model_facts(
    choice: ModelChoice,
    sampling: SamplingConfig,
    compression: CompressionConfig | None,
    codecs: Mapping[Level, str],
    share: Share,
    place: Mapping[str, Any],
) -> ModelFacts:
    """Load the model where the prefill workers will run, since the driver's machine may have neither GPU nor weights.

    ``share``: what such a worker takes of a device. ``place``: Ray's options that bring a task there.

    :raises InsufficientMemoryError: it would not fit there, found out before anything is loaded.
    :raises ModelError: there is no such model, or its checkpoint is not sound.
    """
    try:
        task = _model_facts.options(num_gpus=share.gpus, **place).remote(
            choice, sampling, compression, dict(codecs), share
        )
        facts: ModelFacts = ray.get(task)
    except RayTaskError as error:
        raise error.cause from None
    return facts


# Ray ends a process that has used a GPU after its task, so the memory is free again for the prefill workers.
@ray.remote(num_cpus=1, max_retries=1)
def _model_facts(
    choice: ModelChoice,
    sampling: SamplingConfig,
    compression: CompressionConfig | None,
    codecs: Mapping[Level, str],
    share: Share,
) -> ModelFacts:
    memory = actor_memory(choice, compression, share)
    if share.ranks > 1:
        check_deepspeed()
    device, dtype = placement(choice.device, choice.dtype)
    # One that needs several devices fits none; its precision is theirs all the same.
    model = load_model(choice.name, device="cpu" if share.ranks > 1 else device, dtype=dtype)
    compression = compression or model.default_compression
    return ModelFacts(
        index_spec(model, sampling, compression, codecs),
        compression,
        model.frame_format,
        model.tokens_per_frame,
        model.geometry.bytes_per_token,
        memory,
    )
