"""What one machine can be to torch: an older one, or one with more threads."""

from __future__ import annotations

from collections.abc import Mapping

SETS = {"DEFAULT": ("default",), "AVX2": ("default", "avx2"), "AVX512": ("default", "avx2", "avx512")}
"""Instruction sets that torch may be told to use, by the best that the processor has. It would crash with a better."""
CAPABILITY = "ATEN_CPU_CAPABILITY"


def environments() -> Mapping[str, Mapping[str, str]]:
    """Names and variables."""
    import torch

    best = torch.backends.cpu.get_cpu_capability()
    sets = {name: {CAPABILITY: name} for name in SETS.get(best, ())[:-1]}  # the best is what it takes by itself
    # Threads that wait for one another on busy cores would spin in vain.
    threads = {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"}
    return {**sets, "two threads": threads}
