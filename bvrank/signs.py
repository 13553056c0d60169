"""Fisher's randomisation test of paired differences.

Were there no difference, each pair's could as well have the other sign: p is the share of all
choices of signs whose sum lies as far from 0. Pairs that do not differ say nothing. Where all
differences have one size, as those of right and wrong answers, it is the exact sign test (McNemar,
1947).
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

Gaps = NDArray[np.float64]  # [M]
ALIKE = 1e-12  # rounding
MOST = 13  # differences all of whose signs are tried: 2^13 choices


def differing(gaps: Gaps) -> Gaps:
    """Those that are no rounding of 0."""
    kept: Gaps = gaps[np.abs(gaps) > ALIKE]
    return kept


def one_size(gaps: Gaps) -> bool:
    """Whether all of them are as large, but for sign and rounding."""
    sizes = np.abs(gaps)
    return not len(sizes) or bool(np.ptp(sizes) <= ALIKE * max(1.0, sizes.max()))


def p_value(gaps: Gaps, seed: int, draws: int) -> float:
    """Two-sided, of `differing` ones: exact for one size and for a few, else of so many `draws` of
    signs. 1.0 of none."""
    if one_size(gaps):
        return _sign_test(int((gaps > 0).sum()), len(gaps))
    far = abs(gaps.sum()) - ALIKE * np.abs(gaps).sum()
    if len(gaps) <= MOST:
        signs = np.array(list(product((-1, 1), repeat=len(gaps))))
        return float((np.abs(signs @ gaps) >= far).mean())
    signs = 2 * np.random.default_rng(seed).integers(0, 2, (draws, len(gaps))) - 1
    return float((1 + (np.abs(signs @ gaps) >= far).sum()) / (1 + draws))


def _sign_test(positive: int, of: int) -> float:
    """Twice the smaller tail of a binomial of `of` fair tosses, in whole numbers."""
    term, tail = 1, 0
    for n in range(min(positive, of - positive) + 1):
        tail += term
        term = term * (of - n) // (n + 1)
    return min(1.0, float(2 * tail / 2**of))
