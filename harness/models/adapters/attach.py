"""An adapter of given fields on a model: which layers it is on, and its first weights."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from harness.config.lora import ALL_LINEAR, LoraFields
from harness.models.adapters.adapter_set import CRITIC, POLICY, REFERENCE, AdapterSet, check_installed
from harness.models.adapters.folders import fill
from harness.models.backbone import backbone_of


def attach(
    model: Any, fields: LoraFields, seed: int, critic: bool = False, reference: bool = False, folder: str | None = None
) -> AdapterSet:
    """Adapters on the linear layers of `model`, which is changed in place and frozen.

    A is uniform in +-1/sqrt(in) (He's, as in the paper's code), drawn from `seed` alone; B is 0: the adapted model is
    the given one, to the bit.  With `folder` both are those of the PEFT folder there.  The value model's adapter, and a
    reference's that is renewed, begin as copies of the policy's.

    Raises ValueError, one line, where peft is missing, no layer has that name, or the folder's adapter is of another
    shape or for another model.
    """
    check_installed()
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=fields.r,
        lora_alpha=fields.alpha,
        target_modules=ALL_LINEAR if fields.target == ALL_LINEAR else check_targets(model, fields),
        lora_dropout=0.0,
        use_dora=fields.dora,
        use_rslora=fields.rslora,
        bias="none",
        task_type="CAUSAL_LM",
        fan_in_fan_out=any(isinstance(m, Conv1D) for m in model.modules()),
    )
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")  # peft's on fan_in_fan_out, which is as it should be
        torch.manual_seed(seed)
        peft_model: Any = get_peft_model(model, config)
        for name in [CRITIC] * critic + [REFERENCE] * reference:
            peft_model.add_adapter(name, config)
    adapters = AdapterSet(peft_model, fields)
    if any(layer is model.get_output_embeddings() for layer in adapters.layers):
        raise ValueError("lora.target: the output head stays as it is: name layers of the backbone")
    model.eval()
    if folder is not None:
        fill(adapters, folder)
    for name in adapters.names[1:]:
        adapters.copy(POLICY, name)
    return adapters


def linear_names(model: Any) -> list[str]:
    """The last words of the names of the backbone's linear layers."""
    named = backbone_of(model).named_modules()
    return sorted({name.rpartition(".")[2] for name, m in named if isinstance(m, nn.Linear | Conv1D)})


def check_targets(model: Any, fields: LoraFields) -> list[str]:
    """Raises ValueError where a name is no linear layer's."""
    valid = linear_names(model)
    for name in fields.names:
        if name not in valid:
            known = ", ".join([ALL_LINEAR, *valid])
            raise ValueError(f"lora.target: no linear layer of the backbone is named '{name}'; valid: {known}")
    return fields.names
