"""One colour per algorithm, which readers with a colour deficiency tell apart."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from algos.core.registry import names
from harness.reports.palette import palette, styles

DEFICIENT = {  # Machado, Oliveira and Fernandes 2009, severity 1.0, on linear RGB
    "none": np.eye(3),
    "protan": np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]),
    "deutan": np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]),
    "tritan": np.array([[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]]),
}


def lab(colour: str, seen: np.ndarray) -> np.ndarray:
    """CIELAB of a colour as a reader sees it (D65)."""
    x = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.clip(seen @ np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4), 0, 1)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    y = to_xyz @ linear / np.array([0.9505, 1.0, 1.089])
    f = np.where(y > 0.008856, np.cbrt(y), 7.787 * y + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("reader", DEFICIENT)
def test_any_two_algorithms_differ_for_every_reader(reader: str) -> None:
    seen = {name: lab(x, DEFICIENT[reader]) for name, x in palette()["algorithms"].items()}
    for a, b in itertools.combinations(seen, 2):
        assert np.linalg.norm(seen[a] - seen[b]) > 10, (a, b)


def test_every_algorithm_that_ships_has_a_colour() -> None:
    assert set(names()) <= {*palette()["algorithms"], *palette()["variants"]}


def test_an_algorithm_has_one_colour_whatever_else_a_study_has() -> None:
    one = styles({"x": "ppo"})["x"].colour
    assert styles({"a": "grpo", "b": "sft", "c": "ppo"})["c"].colour == one
    shades = styles({"a": "ppo", "b": "ppo", "c": "ppo", "d": "mine"})
    assert len({(s.colour, s.dashes, s.marker) for s in shades.values()}) == 4
    assert shades["a"].colour == one != shades["b"].colour
