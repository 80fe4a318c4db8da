"""How good is a judge that gives probabilities?  Estimators over plain arrays; K judgements each."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from scipy.stats import rankdata

BINS = 10


@dataclass(frozen=True)
class Quality:
    """Of K probabilities against K labels of 0 or 1."""

    n: int
    base_rate: float  # share of labels that are 1
    accuracy: float  # share on the right side of 1/2
    auc: float | None  # None where all labels are equal
    brier: float  # mean squared error; base_rate (1 - base_rate) knows nothing but the base rate
    calibration_error: float  # mean |confidence - share right| over ten bins of equal width, weighted by their counts

    def as_dict(self) -> dict[str, float | int | None]:
        return asdict(self)


def quality(probability_K: np.ndarray, label_K: np.ndarray) -> Quality | None:
    """accuracy, AUC, Brier score and expected calibration error; None for no judgement at all.

    A label in between (a share of continuations that were right) counts as 1 from 1/2 on, for all but the Brier score.

    >>> quality(np.array([0.9, 0.2, 0.6, 0.1]), np.array([1, 0, 0, 0])).as_dict()["accuracy"]
    0.75
    """
    p_K, y_K = np.asarray(probability_K, float), np.asarray(label_K, float)
    if len(p_K) == 0:
        return None
    hard_K = y_K >= 0.5
    return Quality(
        n=len(p_K),
        base_rate=float(hard_K.mean()),
        accuracy=float(((p_K >= 0.5) == hard_K).mean()),
        auc=auc(p_K, hard_K),
        brier=float(((p_K - y_K) ** 2).mean()),
        calibration_error=calibration_error(p_K, hard_K),
    )


def auc(score_K: np.ndarray, right_K: np.ndarray) -> float | None:
    """P(a right one's score is above a wrong one's), ties counting half: the area under the ROC curve.

    By ranks (Mann-Whitney): (sum of the right ones' ranks - R (R + 1) / 2) / (R W).  None without both kinds.
    """
    right, wrong = int(right_K.sum()), int((~right_K).sum())
    if right == 0 or wrong == 0:
        return None
    ranks_K = rankdata(score_K)
    return float((ranks_K[right_K].sum() - right * (right + 1) / 2) / (right * wrong))


def calibration_error(probability_K: np.ndarray, right_K: np.ndarray, bins: int = BINS) -> float:
    """sum_b (n_b / K) |mean probability_b - share right_b| over bins of equal width (1706.04599 §3)."""
    bin_K = np.minimum((probability_K * bins).astype(int), bins - 1)
    gaps = (
        abs(probability_K[bin_K == b].mean() - right_K[bin_K == b].mean()) * (bin_K == b).mean()
        for b in np.unique(bin_K)
    )
    return float(sum(gaps))
