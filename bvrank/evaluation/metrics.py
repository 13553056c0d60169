"""What is known of a figure by its metric's name: which way is better, whether it is a share, and
between what it lies. Of an unknown one nothing is: neither way is better, and it is no share.
"""

from __future__ import annotations

HIGHER = (
    "avg", "pass", "maj", "win_rate", "lc_win_rate", "lc_win_rate_minimal", "score",
    "style_controlled", "accuracy", "ndcg", "ndcg_exp", "recall", "p", "map", "mrr", "acc",
    "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match", "em", "f1", "precision",
)  # fmt: skip
LOWER = (
    "unclosed", "truncated", "no_answer", "unscored", "calibration_error", "invented", "missing",
    "repeated", "accuracy_drop", "order_sd", "order_range",
)  # fmt: skip
SHARES = (*HIGHER, *LOWER)
# Numbers that are no shares. How far a policy has moved, and how long it writes, is neither better
# nor worse by itself.
NUMBERS: dict[str, bool | None] = {
    "tokens": None, "length": None, "rounds": None, "chosen_displacement": None,
    "rejected_displacement": None, "position_bias": None, "margin": True, "order_tau": True,
    "mcc": True, "bleu": True, "chrf": True, "rouge1": True, "rouge2": True, "rougeL": True,
    "likelihood_diff": None, "kl": False, "kl_modes": False, "brier": False, "brier_score": False,
    "ter": False, "perplexity": False, "word_perplexity": False, "byte_perplexity": False,
    "bits_per_byte": False,
}  # fmt: skip
SIGNED = ("accuracy_drop", "order_tau", "position_bias", "mcc")  # from -1 to 1
ROUNDING = 1e-9


def higher_is_better(figure: str) -> bool | None:
    """Whether more of it is better; None where neither way is, or nothing is known."""
    metric = _metric(figure)
    return True if metric in HIGHER else False if metric in LOWER else NUMBERS.get(metric)


def is_share(figure: str, value: float = 0.0) -> bool:
    """Whether it is a share, told in per cent: `value` has to be one (some tasks tell an F1 in per
    cent already)."""
    return _metric(figure) in SHARES and abs(value) <= 1 + ROUNDING


def bounds(figure: str) -> tuple[float, float] | None:
    """Between what a prompt's value lies; None where nothing bounds it, or it is not known."""
    metric = _metric(figure)
    if metric in SIGNED:
        return -1.0, 1.0
    return (0.0, 1.0) if metric in SHARES or metric == "brier" else None


def _metric(figure: str) -> str:
    return figure.rpartition("/")[2].partition("@")[0]
