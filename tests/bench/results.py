"""Results of every suite, made up, with the settings that conf/bench.yaml gives."""

from __future__ import annotations

from typing import Any

from bvrank.bench.result import Arm, Cell, Result

MACHINE: dict[str, Any] = {"processor": "a processor", "cores": 2, "threads": 2, "torch": "2.13.0"}
SETTINGS: dict[str, Any] = {"rounds": 3, "peer": True, "out": "/somewhere/out", "store": None}


def arm(*seconds: float, peak: int = 0, above: int = 0) -> Arm:
    return Arm(seconds, peak, above)


def lists() -> Result:
    """The tree takes 1 s; a row per item 2 s an item, all logits 3 s, one causal pass half."""
    cells = tuple(
        Cell({"prompt": prompt, "items": items}, {
            "forest": arm(1, 1, 1), "causal": arm(0.5, 0.5, 0.5),
            "rows": arm(2 * items, 2 * items, 3 * items), "dense": arm(3 * items, 3 * items, items),
        }, {"unique_tokens": prompt + items, "row_tokens": prompt * items})
        for prompt in (128, 2048) for items in (5, 10)
    )  # fmt: skip
    return Result("lists", SETTINGS, MACHINE, cells)


def pairs(suite: str = "pairs") -> Result:
    arms = {
        "bvrank micro 8": arm(4, 4, 4, peak=2_000_000, above=1_000_000),
        "bvrank micro 2": arm(2, 2, 2, peak=1_500_000, above=500_000),
        "trl micro 8 live": arm(8, 6, 10, peak=9_000_000, above=8_000_000),
    }
    facts = {"tokens": 600, "scored": 300, "flops": 12e9, "matmul": 4e9,
             "losses/apart": 2e-4, "losses/allowed": 1e-3, "losses/moved": 0.05,
             "screen/trl micro 8 live": 7.5, "screen/trl micro 8 precomputed": 9.0}  # fmt: skip
    if suite == "views":
        facts |= {"passes/apart": 1e-4, "passes/allowed": 1e-3, "passes/moved": 5e-4}
    views = "full" if suite == "pairs" else "full bare"
    return Result(suite, SETTINGS, MACHINE, (Cell({"views": views, "batch": 8}, arms, facts),))


def memory(peer: bool = True) -> Result:
    def cell(vocabulary: int, scored: int) -> Cell:
        arms = {"bvrank micro 1": arm(1, peak=3_000_000, above=1_000_000)}
        if peer:
            arms["bvrank micro 1 recomputed"] = arm(1, peak=2_000_000, above=500_000)
            arms["trl micro 1 precomputed"] = arm(1, peak=6_000_000, above=4_000_000)
            arms["trl micro 1 precomputed recomputed"] = arm(1, peak=4_000_000, above=1_000_000)
        return Cell({"vocabulary": vocabulary, "scored": scored}, arms, {"tokens": 9})

    cells = tuple(cell(v, n) for v in (1000, 2000) for n in (100, 200))
    return Result("memory", SETTINGS, MACHINE, cells)


def growth(tokens: float = 2e-3, pairs: float = 3e-6) -> Result:
    """Seconds exactly on the line of these slopes."""
    work = {5: (100, 4000), 10: (150, 9000), 50: (400, 90000)}
    cells = [
        Cell({"grows": "items", "size": n}, {"step": arm(tokens * t + pairs * p)},
             {"tokens": t, "pairs": p}) for n, (t, p) in work.items()
    ]  # fmt: skip
    cells += [Cell({"grows": "rows", "size": n}, {"step": arm(0.004)}, {"tokens": 0, "pairs": 0})
              for n in (1000, 1000000)]  # fmt: skip
    return Result("growth", SETTINGS, MACHINE, tuple(cells))


def start() -> Result:
    cells = tuple(Cell({"command": c}, {"bvrank": arm(s, 2 * s, 3 * s)})
                  for c, s in (("--help", 0.1), ("first step", 2.0)))  # fmt: skip
    return Result("start", SETTINGS, MACHINE, cells)


def ranks() -> Result:
    arms = {"1 rank": arm(3, 3, 9), "2 ranks": arm(2, 2, 2)}
    return Result("ranks", SETTINGS, MACHINE, (Cell({"batch": 8, "engine": "zero0"}, arms),))


def every() -> list[Result]:
    return [lists(), pairs(), pairs("views"), memory(), growth(), start(), ranks()]
