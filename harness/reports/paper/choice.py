"""Which arms a paper shows, and what it calls them."""

from __future__ import annotations

from dataclasses import replace

from harness.reports.analysis.summary import Findings


def chosen(findings: Findings, arms: list[str] | None, labels: list[str] | None) -> Findings:
    """The findings with these arms alone, in this order, under these labels.

    Nothing is decided anew: intervals and verdicts stay those of the study's whole family of contrasts.  Blocks
    without any of the arms are left out.  Raises ValueError, naming the option.
    """
    names = arms if arms is not None else list(findings.arms)
    if unknown := [arm for arm in names if arm not in findings.arms]:
        raise ValueError(f"--arms: no arm '{unknown[0]}' with a finished run; valid: {', '.join(findings.arms)}")
    if len(set(names)) < len(names):
        raise ValueError(f"--arms: an arm is named twice in {','.join(names)}")
    if labels is not None and len(labels) != len(names):
        raise ValueError(f"--labels: {len(labels)} labels for {len(names)} arms ({', '.join(names)})")
    if labels is not None and (len(set(labels)) < len(labels) or not all(labels)):
        raise ValueError("--labels: every arm needs a label of its own")
    study = findings.results.study
    called = dict(zip(names, labels or map(study.label, names), strict=True))
    own = {arm: {**study.arms.get(arm, {}), "label": called[arm]} for arm in names}
    blocks = [
        replace(
            block,
            arms=[arm for arm in names if arm in block.arms],
            pairs=[pair for pair in block.pairs if {pair.a, pair.b} <= set(names)],
        )
        for block in findings.blocks
    ]
    at_k = [
        replace(
            x, mean={a: x.mean[a] for a in names if a in x.mean}, gain={a: g for a, g in x.gain.items() if a in own}
        )
        for x in findings.at_k
    ]
    return replace(
        findings,
        results=replace(findings.results, study=replace(study, arms=own)),
        arms={arm: findings.arms[arm] for arm in names},
        blocks=[block for block in blocks if block.arms],
        at_k=at_k,
    )
