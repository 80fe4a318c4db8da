"""A reward model: a decoder's backbone and one number per token, read after the token.

    p(q, o_<=t) = sigmoid(w . h_t),   h_t the backbone's state once it has read token t

An outcome model is read at the last token, a process model at the end of each step.  It is a transformers model for
sequence classification with one label: what is trained here loads by name, and what others have trained loads here.

Shapes: N completions, T completion tokens, H the backbone's width.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from algos import Rollouts
from harness.models.backbone import Autocast, Backbone
from harness.models.causal_lm import CausalLM
from harness.models.files.quiet import silenced
from harness.models.files.weights import check_weights
from harness.models.foreign_code import check_kernels, check_vocabulary, reason_of
from harness.models.microbatching import cut, own
from harness.models.parallel.state import state_of
from harness.processes.group import current


class RewardModel:
    """Reads rollouts; packed as the policy that it was made beside is read, where it has the policy's architecture."""

    def __init__(
        self, classifier: Any, like: CausalLM, autocast: Autocast, micro_batch_tokens: int, device: torch.device
    ) -> None:
        self.classifier, self.micro_batch_tokens, self.device = classifier.to(device).eval(), micro_batch_tokens, device
        same = type(classifier.base_model) is type(like.module)
        self.trunk = Backbone(classifier.base_model, same and like.packs, autocast, same and like.varlen)

    def logits(self, rollouts: Rollouts) -> Tensor:
        """w . h after each completion token, 0 at mask 0.  (N, T), with gradient where it is enabled."""
        chosen = self.trunk.hidden_states(shift_right(rollouts))
        head = self.classifier.score
        return chosen.scatter(head(chosen.state_MH.to(head.weight.dtype))[:, 0])[:, 1:]

    @torch.inference_mode()
    def __call__(self, rollouts: Rollouts) -> Tensor:
        """p after each completion token, at most `micro_batch_tokens` at a time.  (N, T)."""
        out_NT = torch.zeros(rollouts.completion_mask_NT.shape, device=self.device)
        rows_N = own(rollouts, torch.arange(len(out_NT), device=self.device))
        for rows in cut(rollouts, rows_N, self.micro_batch_tokens):
            out_NT[rows] = torch.sigmoid(self.logits(rollouts.take(rows))).float()
        current().sum_([out_NT])
        return torch.where(rollouts.completion_mask_NT, out_NT, 0)


def shift_right(rollouts: Rollouts) -> Rollouts:
    """The same rows, seen one token on: column t + 1 foresees what follows token t, so its state has read token t.

    The token in the new column is never read: it is only a target.
    """
    r, last = rollouts, (0, 1)
    pad = torch.nn.functional.pad
    mask_NT = pad(r.completion_mask_NT, (1, 0))
    own_NT = pad(
        r.attention_mask_NS[:, -r.completion_mask_NT.shape[1] :], (1, 0), value=True
    )  # tokens of the completion, one place on
    return replace(
        r,
        tokens_NS=pad(r.tokens_NS, last),
        attention_mask_NS=torch.cat([r.attention_mask_NS[:, : -r.completion_mask_NT.shape[1]], own_NT], 1),
        completion_mask_NT=mask_NT,
        logp_NT=pad(r.logp_NT, (1, 0)),
    )


def from_policy(model: Any) -> Any:
    """A classifier with one label on a copy of the causal LM's backbone, its head 0: it begins by saying 1/2.

    Raises ValueError, one line, where the architecture has no such form in transformers.
    """
    config = copy.deepcopy(model.config)
    config.num_labels = 1
    if config.get_text_config().pad_token_id is None:
        config.pad_token_id = 0  # the library wants one; rows are masked here
    try:
        with silenced():
            classifier = AutoModelForSequenceClassification.from_config(
                config, dtype=model.dtype, trust_remote_code=False
            )
        classifier.base_model.load_state_dict(state_of(model.base_model))
        torch.nn.init.zeros_(classifier.score.weight)
    except (ValueError, AttributeError, RuntimeError) as error:  # no such class, another name for backbone or head
        raise ValueError(
            f"reward_model: transformers has no sequence classification for {type(model).__name__}: {reason_of(error)}"
        ) from error
    return classifier


def load(name: str, tokenizer: Any, dtype: torch.dtype = torch.float32) -> Any:
    """A classifier with one label, by folder or hub id, its weights in the policy's precision, however they were saved.

    Raises ValueError, one line, where it cannot be had, has no trained head or more than one label, lacks another of
    its tensors, or reads other tokens than the policy writes.
    """
    if (Path(name).exists() or name.startswith((".", "/"))) and not Path(name, "config.json").is_file():
        raise ValueError(f"reward_model.name: {name} is not a folder with a config.json")
    try:
        with silenced():
            theirs = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
            config = AutoConfig.from_pretrained(name, trust_remote_code=False)
            check_kernels(config)
            classifier, info = AutoModelForSequenceClassification.from_pretrained(
                name,
                config=config,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                dtype=dtype,
                trust_remote_code=False,
            )
    except Exception as error:  # transformers raises many kinds
        raise ValueError(f"reward_model.name: cannot load '{name}': {reason_of(error)}") from error
    if not hasattr(classifier, "score") or any(key.startswith("score.") for key in info["missing_keys"]):
        raise ValueError(f"reward_model.name: '{name}' has no head of its own (score.weight): it is not a reward model")
    check_weights(classifier, info, f"reward_model.name: {name}")
    if (labels := classifier.score.weight.shape[0]) != 1:
        raise ValueError(f"reward_model.name: '{name}' has {labels} labels, where 1 is needed")
    if theirs.get_vocab() != tokenizer.get_vocab():
        raise ValueError(f"reward_model.name: '{name}' has another tokenizer than the policy: it would misread")
    check_vocabulary(theirs, classifier, name, "reward_model.name")
    return classifier
