"""Points that lie near to each other.  Shapes: P points of E numbers, K centres."""

from __future__ import annotations

import torch
from torch import Tensor


def k_means(point_PE: Tensor, k: int, steps: int) -> Tensor:
    """argmin_c |x_p - m_c|^2 after `steps` of Lloyd's algorithm.  Shape (P,), int64; 0 .. K-1.

    Deterministic: m_0 is the first point, each next centre the point farthest from those so far (of
    equals the first).  A centre that loses its points stays where it is, and has none.  Where fewer than `k`
    points differ there are as many clusters as different points.
    """
    centre_KE = point_PE[:1].clone()
    while len(centre_KE) < k:
        nearest_P = torch.cdist(point_PE, centre_KE).amin(1)
        if float(nearest_P.max()) == 0:
            break
        centre_KE = torch.cat([centre_KE, point_PE[nearest_P.argmax()][None]])
    label_P = torch.cdist(point_PE, centre_KE).argmin(1)
    for _ in range(steps):
        for c in range(len(centre_KE)):
            member_P = label_P == c
            if bool(member_P.any()):
                centre_KE[c] = point_PE[member_P].mean(0)
        label_P = torch.cdist(point_PE, centre_KE).argmin(1)
    return label_P.unique(return_inverse=True)[1]
