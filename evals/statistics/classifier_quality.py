"""How good is a classifier that predicts probabilities?  Estimators over plain arrays of K predictions.

scikit-learn is imported inside the function that needs it: the import takes a second.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

BINS = 10


@dataclass(frozen=True)
class Quality:
    """K predicted probabilities against K labels."""

    n: int
    base_rate: float  # fraction of labels that are 1
    accuracy: float  # fraction on the correct side of 1/2
    auc: float | None  # None if all labels are equal
    brier: float  # mean squared error; always predicting the base rate gives base_rate (1 - base_rate)
    calibration_error: float  # mean |probability - fraction correct| over ten bins of equal width, weighted by count

    def as_dict(self) -> dict[str, float | int | None]:
        return asdict(self)


def quality(probability_K: np.ndarray, label_K: np.ndarray) -> Quality | None:
    """Accuracy, AUC, Brier score and expected calibration error; None if K = 0.

    A soft label (the fraction of continuations that were correct) counts as 1 if it is at least 1/2, except in the
    Brier score, which is mean_k (p_k - y_k)^2 with the labels as they are.  (scikit-learn's `brier_score_loss` is the
    same for labels of 0 and 1, but refuses soft labels.)

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
    """The area under the ROC curve: P(score of a positive > score of a negative), ties counting half.

    None if all labels are equal, where scikit-learn's `roc_auc_score` gives nan with a warning.
    """
    if right_K.all() or not right_K.any():
        return None
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(right_K, score_K))


def calibration_error(probability_K: np.ndarray, right_K: np.ndarray, bins: int = BINS) -> float:
    """sum_b (n_b / K) |mean probability_b - fraction correct_b| over bins of equal width (1706.04599 §3).

    A probability of 1 falls into the last bin.  scikit-learn's `calibration_curve` gives no counts of its bins.
    """
    bin_K = np.minimum((probability_K * bins).astype(int), bins - 1)
    gaps = (
        abs(probability_K[bin_K == b].mean() - right_K[bin_K == b].mean()) * (bin_K == b).mean()
        for b in np.unique(bin_K)
    )
    return float(sum(gaps))
