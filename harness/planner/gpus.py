"""Published peaks of GPUs, for an estimate where there is none to measure: `harness plan --gpu NAME`.

tflops      of dense 16-bit matrix products with fp32 sums (bfloat16; of the T4, which has none, float16), without
            the sparsity that doubles the number on many sheets
bandwidth   of its memory, TB/s
memory      in GB as it is sold, 10^9 bytes

Each number was compared with a third party's copy of NVIDIA's table, not with the sheet itself: of the A100, H100 and
B200 at glennklockwood.com/garden/processors, of the H100 PCIe at archive-lib.hpctech.co.jp, of the H200 at itkb.uw.cz,
of the L40S at mullet.se, of the L4 at grokipedia.com, of the T4 at hmc-tech.com, of the RTX 4090 at waredb.com.  A card
whose peak was found in none is not here.

A training loop reaches some of these numbers: how much is what an estimate does not know.  REACHED is the range that
is assumed for both; the estimate is given as a range of the same width.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.planner.compute import cost_of, flops_of
from harness.planner.setting import Setting

REACHED = (0.5, 0.1)  # of the peak: a good case and a poor one


@dataclass(frozen=True)
class Gpu:
    title: str
    tflops: float
    bandwidth: float
    memory: float
    source: str


GPUS: dict[str, Gpu] = {
    "b200": Gpu("B200", 2250, 8.0, 180, "DGX B200, an eighth: 18 PFLOPS, 64 TB/s, 1,440 GB"),
    "h200": Gpu("H200 SXM", 989, 4.8, 141, "data sheet; 1,979 with sparsity"),
    "h100": Gpu("H100 SXM", 989, 3.35, 80, "data sheet; 1,979 with sparsity"),
    "h100-pcie": Gpu("H100 PCIe", 756, 2.0, 80, "data sheet; 1,513 with sparsity"),
    "a100": Gpu("A100 80GB SXM", 312, 2.039, 80, "data sheet; 624 with sparsity"),
    "a100-40": Gpu("A100 40GB", 312, 1.555, 40, "data sheet; 624 with sparsity"),
    "l40s": Gpu("L40S", 362, 0.864, 48, "data sheet; 733 with sparsity"),
    "l4": Gpu("L4", 121, 0.3, 24, "data sheet; 242 with sparsity"),
    "t4": Gpu("T4", 65, 0.32, 16, "data sheet; float16"),
    "rtx4090": Gpu("GeForce RTX 4090", 165, 1.008, 24, "bfloat16; 330 with sparsity"),
}


def gpu_of(name: str) -> Gpu:
    """Raises ValueError on an unknown name, listing the valid ones."""
    found = GPUS.get(name.lower().replace(" ", "").replace("_", "-"))
    if found is None:
        raise ValueError(f"gpu: unknown '{name}'; valid: {', '.join(GPUS)}")
    return found


def seconds_on(gpu: Gpu, s: Setting) -> tuple[float, float] | None:
    """(good case, poor case) of the run's rounds, with every completion at its limit; None where the number of rounds
    is not known, since the budget is in seconds.

    Decoding reads all weights, in 16 bits, at every step for all rows that are decoded at once: the slower of that and
    of its products.  All else is products.
    """
    cost = cost_of(s)
    if cost.rounds is None or cost.flops is None:
        return None
    rows, own = s.schedule.prompts * s.schedule.group_size, s.config.max_new_tokens
    batches = -(-rows // max(1, s.config.rollout_batch_size)) if s.sampled else 0
    weights = 2.0 * s.architecture.parameters
    keys = 2 * 2.0 * s.architecture.layers * s.architecture.keyed * (s.prompt + own / 2) * rows / max(1, batches)
    reading = batches * own * (weights + keys) / (gpu.bandwidth * 1e12)
    policy = flops_of(s).policy
    products = policy.rollout([s.prompt] * s.schedule.prompts, [[own] * s.schedule.group_size] * s.schedule.prompts)
    decoding = max(reading, products / (gpu.tflops * 1e12)) if s.sampled else 0.0
    others = max(0.0, cost.flops - cost.rounds * (products if s.sampled else 0.0)) / (gpu.tflops * 1e12)
    ideal = cost.rounds * decoding + others
    return ideal / REACHED[0], ideal / REACHED[1]
