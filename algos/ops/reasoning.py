"""What a token is worth where the answer and the steps towards it are rewarded both.

Shapes: N completions in P groups, T tokens; `r_i` is the answer's reward, s_ij that of written step j of K_i, which
ends at token `end_j`.  The last step of a completion, at its last token, is the answer's own and no written step.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from algos.ops import advantages

Form = Literal["process", "weighted", "apart", "min", "leave_one_out"]


def combined(
    reward_N: Tensor,
    step_reward_NT: Tensor,
    step_end_NT: Tensor,
    mask_NT: Tensor,
    group_N: Tensor,
    valid_N: Tensor,
    form: Form,
    step_weight: float = 1.0,
    temperature: float = 0.1,
    step_reduction: advantages.StepReduction = "sum",
    normalize: advantages.Normalize = "group",
    ddof: int = 0,
    eps: float = 0.0,
) -> Tensor:
    """A_it of answer and steps together.  Shape (N, T), 0 at mask 0.

    | form            | A_it                                                             | combined | source           |
    |-----------------|------------------------------------------------------------------|----------|------------------|
    | `process`       | sum_{end_j >= t} z_G(s_ij), the answer a step like any other     | -        | 2402.03300 §4.1.3|
    | `weighted`      | z_g(r_i + w mean_j s_ij)                                         | before   | the plain sum    |
    | `apart`         | z_g(r_i) + w sum_{end_j >= t} z_G(s_ij)                          | after    | chosen           |
    | `min`           | LOO(r_i) + w (sum_{end_j >= t} v_ij s_ij - mean_{k != i} R_k)    | after    | PURE, 2504.15275 |
    | `leave_one_out` | LOO(r_i) + w sum_{end_j >= t} (s_ij - mean_{k != i} mean_j s_kj) | after    | PRIME, 2502.01456|

    with w = `step_weight`; z_g against mean and deviation of the group (`normalize`, `ddof`), z_G against those of all
    its step rewards; LOO(r_i) = r_i - mean_{k != i} r_k; v_ij = exp(-s_ij/T) / sum_l exp(-s_il/T), T = `temperature`,
    so that R_i = sum_j v_ij s_ij tends to min_j s_ij as T tends to 0: a chain is worth its worst step.

    Degenerate cases: w = 0 is outcome supervision (`weighted`, `apart`), or RLOO.  A completion without a written step
    has the mean step 0 and R = 0; in `leave_one_out` and `min` it counts among the others with that.  In a group of one
    `leave_one_out` and `min` have nobody to compare with: the answer is worth 0, the steps themselves.
    """
    if form == "process":
        whole = (step_reward_NT, step_end_NT, mask_NT, group_N, valid_N)
        return advantages.process(*whole, step_reduction, normalize, ddof, eps)
    answer_NT = mask_NT & (mask_NT.cumsum(1) == mask_NT.sum(1, keepdim=True))
    written_NT = step_end_NT & mask_NT & ~answer_NT
    step_NT = torch.where(written_NT, step_reward_NT, 0)
    count_N = written_NT.sum(1).clamp(min=1)
    if form == "weighted":
        both_N = reward_N + step_weight * step_NT.sum(1) / count_N
        worth_NT = advantages.group_advantages(both_N, group_N, valid_N, "group", normalize, ddof, None, eps)[:, None]
    elif form == "apart":
        answer_N = advantages.group_advantages(reward_N, group_N, valid_N, "group", normalize, ddof, None, eps)
        towards_NT = advantages.process(
            step_NT, written_NT, mask_NT, group_N, valid_N, step_reduction, normalize, ddof, eps
        )
        worth_NT = answer_N[:, None] + step_weight * towards_NT
    elif form in ("min", "leave_one_out"):
        step_NT = step_NT * softmin_weights(step_NT, written_NT, temperature) if form == "min" else step_NT
        towards_NT = _against_others(step_NT, written_NT, group_N, valid_N, whole=form == "min")
        answer_N = advantages.group_advantages(reward_N, group_N, valid_N, "leave_one_out", "none")
        worth_NT = answer_N[:, None] + step_weight * towards_NT
    else:
        raise ValueError(f"form must be process, weighted, apart, min or leave_one_out, not {form!r}")
    return torch.where(mask_NT & valid_N[:, None], worth_NT, 0)


def softmin_weights(x_NT: Tensor, at_NT: Tensor, temperature: float) -> Tensor:
    """v = exp(-x/T) / sum exp(-x/T) over the places at 1, 0 elsewhere (PURE, 2504.15275).  Shape (N, T).

    T -> 0: all weight on the least, shared among equals; T -> inf: equal weights.  A row without a place has none.
    """
    logits_NT = torch.where(at_NT, -x_NT / temperature, -torch.inf)
    highest_N1 = torch.where(at_NT.any(1), logits_NT.amax(1), 0)[:, None]
    e_NT = torch.where(at_NT, (logits_NT - highest_N1).exp(), 0)
    return e_NT / torch.where(at_NT.any(1), e_NT.sum(1), 1)[:, None]


def _against_others(step_NT: Tensor, at_NT: Tensor, group_N: Tensor, valid_N: Tensor, whole: bool) -> Tensor:
    """What is to come of the steps, less the others': their sums once (`whole`), or their mean step at each step."""
    own_N = step_NT.sum(1)
    centre_N1 = _others(own_N if whole else own_N / at_NT.sum(1).clamp(min=1), group_N, valid_N)[:, None]
    if not whole:
        step_NT = torch.where(at_NT, step_NT - centre_N1, 0)
    towards_NT = step_NT.flip(1).cumsum(1).flip(1)
    return towards_NT - centre_N1 if whole else towards_NT


def _others(x_N: Tensor, group_N: Tensor, valid_N: Tensor) -> Tensor:
    """mean_{k != i} x_k over the valid others of the group; 0 where there is none."""
    count_N = advantages.group_sum(torch.ones_like(x_N), group_N, valid_N)[group_N] - 1
    sum_N = advantages.group_sum(x_N, group_N, valid_N)[group_N] - x_N
    return torch.where(count_N > 0, sum_N / count_N.clamp(min=1), 0)
