"""The quality of judges: by hand, and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest

from evals.statistics.classifier_quality import auc, calibration_error, quality
from tests.helpers import close


def test_a_handful_by_hand() -> None:
    result = quality(np.array([0.9, 0.2, 0.6, 0.1]), np.array([1, 0, 0, 1]))
    assert result is not None
    # right side of 1/2: the first two; pairs (right, wrong): .9>.2, .9>.6, .1<.2, .1<.6 -> 2 of 4
    assert (result.n, result.base_rate, result.accuracy, result.auc) == (4, 0.5, 0.5, 0.5)
    close(result.brier, (0.1**2 + 0.2**2 + 0.6**2 + 0.9**2) / 4)
    close(result.calibration_error, (0.1 + 0.2 + 0.6 + 0.9) / 4)  # every one alone in its bin


def test_ties_count_half() -> None:
    assert auc(np.array([0.5, 0.5, 0.5]), np.array([True, False, False])) == 0.5
    assert auc(np.array([1.0, 1.0, 0.0]), np.array([True, False, False])) == 0.75


def test_without_both_kinds_there_is_no_auc_and_without_judgements_no_quality() -> None:
    result = quality(np.array([0.9, 0.4]), np.array([1, 1]))
    assert result is not None and result.auc is None and result.accuracy == 0.5
    assert quality(np.array([]), np.array([])) is None


def test_a_perfect_probability_is_calibrated_and_a_certain_one_falls_into_the_last_bin() -> None:
    p = np.repeat([0.0, 0.25, 1.0], 4)
    right = np.array([0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 1, 1], dtype=bool)
    assert calibration_error(p, right) == 0


def test_soft_labels_count_from_a_half_and_whole_in_the_brier_score() -> None:
    result = quality(np.array([0.5, 0.25]), np.array([0.5, 0.25]))
    assert result is not None and result.base_rate == 0.5 and result.brier == 0 and result.accuracy == 1


def test_against_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    for _ in range(20):
        p, y = np.round(rng.random(50), 1), rng.random(50) < 0.4
        result = quality(p, y)
        assert result is not None
        close(result.auc, metrics.roc_auc_score(y, p))
        close(result.brier, metrics.brier_score_loss(y, p))
        close(result.accuracy, metrics.accuracy_score(y, p >= 0.5))
