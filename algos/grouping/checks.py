"""Which choices of GRPO go together.  Each check raises ValueError, one line that names the field and what is valid."""

from __future__ import annotations

from typing import Any

from algos.grouping import catalog


def check_grouping(algo: Any) -> None:
    """A baseline's key must mean something to it, and must not depend on what it corrects, unless it is blended."""
    baseline, key = catalog.baseline(algo.baseline), catalog.group_key(algo.group_by)
    if not 0 <= algo.group_blend <= 1:
        raise ValueError(f"algo.group_blend: must lie in 0..1, not {algo.group_blend}")
    if algo.group_by == "prompt":
        return
    if not baseline.keyed:
        keyed = ", ".join(name for name, cls in catalog.BASELINES.items() if cls.keyed)
        raise ValueError(f"algo.group_by: {algo.group_by} means nothing to baseline={algo.baseline}; valid: {keyed}")
    if not key.safe and (algo.group_blend == 1 or not baseline.per_group):
        raise ValueError(
            f"algo.group_by: {algo.group_by} depends on the completion that it corrects, and would take the signal "
            "between its groups away; blend it with the prompt's group: algo.group_blend below 1, with baseline=group, "
            "leave_one_out or length"
        )


def check_process(algo: Any) -> None:
    """Process supervision, and answer and steps together: what is of outcomes alone must be off."""
    if not algo.step_temperature > 0:
        raise ValueError(f"algo.step_temperature: must be positive, not {algo.step_temperature}")
    if (by := algo.supervision) == "outcome":
        return
    if algo.baseline != "group" or algo.normalize not in ("none", "group") or algo.kl_placement != "loss":
        raise ValueError(
            f"algo.supervision: {by} goes with baseline=group, normalize=group or none, and kl_placement=loss"
        )
    if algo.filter_groups != "none":
        raise ValueError(f"algo.filter_groups: {algo.filter_groups} reads outcomes, and supervision={by} steps")
    off = {"group_by": "prompt", "whiten": "none", "select_completions": "all", "signed_reward": False}
    for name, value in off.items():
        if getattr(algo, name) != value:
            raise ValueError(f"algo.{name}: it is of outcomes; supervision={by} goes with {str(value).lower()}")
