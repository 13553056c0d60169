"""Plausible runs to report on."""

import math

COMMON = {
    "seed": 0,
    "steps": 40,
    "data": {"_target_": "bvrank.data.arithmetic.Arithmetic", "eval_path": None},
    "objective": {"_target_": "bvrank.objectives.bvpo.BVPO", "alpha": 0.5, "beta": 0.1},
    "schedule": {},
    "checkpoint": {"every": 0},
}
DPO = {"_target_": "bvrank.objectives.dpo.DPO", "view": "full", "beta": 0.1}


def figure(value, n=500):
    error = math.sqrt(value * (1 - value) / n)
    half = 1.959964 * error
    return {"value": value, "n": n, "stderr": error, "interval": [value - half, value + half]}


def measures(sampled, greedy, tokens):
    return {
        "avg@4": figure(sampled),
        "greedy": figure(greedy),
        "trace_tokens": tokens,
        "closed_rate": 0.98,
    }


def accuracy(gain=0.1):
    return {
        "thinking": {"before": measures(0.4, 0.43, 31.2), "after": measures(0.4 + gain, 0.5, 29.9)},
        "nothinking": {
            "before": measures(0.5, 0.61, 0.0),
            "after": measures(0.5 + gain / 2, 0.65, 0.0),
        },
    }


def metrics(step, steps, views, draw, strength=1.0):
    """Plausible figures of one step."""
    share = strength * step / steps
    noise = lambda scale: draw.gauss(0, scale)  # noqa: E731
    values = {
        "loss": math.log(2) - 0.3 * share + noise(0.03),
        "lr": 3e-5 * (1 - share),
        "grad_norm": 2 + share + noise(0.2),
        "speed/tokens_per_second": 12000 + noise(300),
    }
    for k, view in enumerate(views):
        values |= {
            f"{view}/rewards/chosen": 0.4 * share,
            f"{view}/rewards/margins": (1 + k) * share + noise(0.05),
            f"{view}/rewards/accuracies": min(1, 0.5 + 0.4 * share + noise(0.04)),
            f"{view}/logps/chosen": -40 - 3 * share + noise(0.3),
            f"{view}/logps/rejected": -42 - 13 * share + noise(0.3),
            f"{view}/displacement/chosen": -3 * share,
            f"{view}/displacement/rejected": -13 * share,
        }
    if step % 10 == 0:
        values["eval/loss"] = math.log(2) - 0.2 * share
        values |= {f"eval/{view}/rewards/accuracies": 0.5 + 0.3 * share for view in views}
    return values
