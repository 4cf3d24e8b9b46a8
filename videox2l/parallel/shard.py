"""Cut a network into one rank's share: attention by heads, MLP by columns and rows (Megatron-LM, arXiv 1909.08053).

The language model is DeepSpeed's to cut (AutoTP): its q/k/v, gate and up projections keep a part of their outputs,
its output and down projections a part of their inputs, with a sum over ranks behind. Norms and embeddings stay whole.
The projections of VSTs, which DeepSpeed does not know, are cut here, in the same way.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stdout

import torch
from torch import nn
from transformers import Qwen2ForCausalLM

from videox2l.errors import ModelError
from videox2l.kv.heads import head_ranges
from videox2l.models.video_xl.network import VideoXLNetwork
from videox2l.models.video_xl.vst import VSTs
from videox2l.parallel.backend import import_deepspeed
from videox2l.parallel.ranks import Ranks

_REMEDY = "Use the DeepSpeed that this project is tested with (constraints.txt)."


def shard_network(network: VideoXLNetwork, ranks: Ranks) -> None:
    """Keep of ``network``, which is whole and on the CPU, this rank's share, on the rank's device.

    The vision tower and the projector stay whole on rank 0, and are dropped on the others.

    :raises ModelError: DeepSpeed did not cut what it should.
    """
    config = network.language_model.config
    head_ranges(config.num_key_value_heads, ranks.count)
    if ranks.count > 1:
        shard_language_model(network.language_model, ranks)
        shard_vsts(network.vst, ranks)
    for part in (network.vision_tower, network.projector):
        part.to(ranks.device if ranks.leads else torch.device("meta"))
    network.language_model.to(ranks.device)
    network.vst.to(ranks.device)


def shard_language_model(model: Qwen2ForCausalLM, ranks: Ranks) -> None:
    """Let AutoTP replace the linear layers of ``model`` in place. A collective."""
    deepspeed = import_deepspeed(ranks.device)
    deepspeed.init_distributed(auto_mpi_discovery=False)
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    with redirect_stdout(io.StringIO()):  # it prints its findings
        deepspeed.init_inference(model, tensor_parallel={"tp_size": ranks.count}, dtype=model.dtype)
    # It casts buffers too: the frequencies of RoPE in bfloat16 would put every token beside its place.
    for name, buffer in buffers.items():
        owner, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(owner), attribute, buffer.to(ranks.device))
    columns = ranks.exchange([layer.mlp.gate_proj.weight.shape[0] for layer in model.model.layers])
    ranks.together(lambda: _check(model, ranks, columns))


def shard_vsts(vsts: VSTs, ranks: Ranks) -> None:
    """Keep the outputs of this rank's query and KV heads; the embedding stays whole."""
    for index in range(len(vsts.layers)):
        projection = vsts.layer(index)
        for name in ("q_proj", "k_proj", "v_proj"):
            setattr(projection, name, _outputs(getattr(projection, name), ranks))
    vsts.kv_heads //= ranks.count


def _outputs(linear: nn.Linear, ranks: Ranks) -> nn.Linear:
    share = linear.out_features // ranks.count
    mine = slice(ranks.rank * share, (ranks.rank + 1) * share)
    part = nn.Linear(linear.in_features, share, device="meta", dtype=linear.weight.dtype)
    # Copies, since a view would keep the whole weight in memory.
    part.weight = nn.Parameter(linear.weight[mine].clone(), requires_grad=False)
    part.bias = nn.Parameter(linear.bias[mine].clone(), requires_grad=False)
    return part


def _check(model: Qwen2ForCausalLM, ranks: Ranks, mlp_columns: Sequence[Sequence[int]]) -> None:
    """AutoTP goes by names and shapes and changes from release to release; a wrong cut can give plausible numbers.

    ``mlp_columns``: of every rank, its columns in each layer. They need not be equal, nor more than 0.
    """
    config = model.config
    if any(sum(shares) != config.intermediate_size for shares in zip(*mlp_columns, strict=True)):
        raise ModelError(f"DeepSpeed did not cut the MLP's {config.intermediate_size} columns into parts. {_REMEDY}")
    for index, (layer, inner) in enumerate(zip(model.model.layers, mlp_columns[ranks.rank], strict=True)):
        attention, mlp, hidden = layer.self_attn, layer.mlp, config.hidden_size
        queries = config.num_attention_heads * attention.head_dim // ranks.count
        keys = config.num_key_value_heads * attention.head_dim // ranks.count
        wanted = {
            attention.q_proj: (queries, hidden),
            attention.k_proj: (keys, hidden),
            attention.v_proj: (keys, hidden),
            attention.o_proj: (hidden, queries),
            mlp.up_proj: (inner, hidden),
            mlp.down_proj: (hidden, inner),
        }
        for module, shape in wanted.items():
            if tuple(module.weight.shape) != shape:
                raise ModelError(f"DeepSpeed cut {module} of layer {index} in another way than into {shape}. {_REMEDY}")
