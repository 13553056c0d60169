"""task=lm_eval: tasks of lm-evaluation-harness on the policy. The only file that imports lm_eval.

Figures bear its names, `<task>/<metric>` (and `@<filter>` where a task has several). A metric that
is the mean of its samples is a cell for each of them; any other (a perplexity, a correlation) has
the harness's value and standard error, and an interval of 1.96 of these. Its requests are cached in
the task's folder, so that a run that was stopped goes on.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from bvrank.errors import ConfigError
from bvrank.evaluation.desk import Desk
from bvrank.evaluation.result import Measured
from bvrank.statistics import Z_LEVEL

CACHE = "requests"
Cells = dict[str, dict[str, float]]


@dataclass(frozen=True)
class LmEval:
    """`tasks`: the harness's own, and groups of them. `shots`: worked examples (None: as each task
    says). `chat`: questions go through the chat template. `batch`: requests at a time.

    ConfigError when the package is missing or a number is out of range.
    """

    name: str
    tasks: list[str]
    shots: int | None = None
    chat: bool = False
    batch: int = 8
    version: ClassVar[int] = 1
    needs: ClassVar[Literal["responses", "policy", "nothing"]] = "policy"
    draws: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not self.tasks or len(set(self.tasks)) < len(self.tasks):
            raise ConfigError("must name one or more, each once", where="tasks")
        for name, least in (("shots", 0), ("batch", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"must be at least {least}, got {value}", where=name)
        if importlib.util.find_spec("lm_eval") is None:
            raise ConfigError("the package lm_eval is not installed",
                              repair="pip install 'bvrank[lm-eval]'")  # fmt: skip

    def measure(self, desk: Desk) -> Measured:
        """Runs the harness, takes its results over."""
        found = self._run(desk)
        cells: Cells = {}
        intervals = {}
        higher: dict[str, bool] = {}
        for task, results in found["results"].items():
            samples = found.get("samples", {}).get(task, [])
            for name, value in results.items():
                metric, _, kind = name.partition(",")
                if not kind or metric.endswith("_stderr") or not _is_number(value):
                    continue
                figure = f"{task}/{metric}" + ("" if kind == "none" else f"@{kind}")
                cells[figure] = _cells(task, metric, kind, samples)
                way = (found.get("higher_is_better", {}).get(task) or {}).get(metric)
                higher |= {figure: way} if isinstance(way, bool) else {}
                values = [*cells[figure].values()]
                if not values or not math.isclose(sum(values) / len(values), value, abs_tol=1e-9):
                    intervals[figure] = _interval(value, results.get(f"{metric}_stderr,{kind}"))
        versions = ", ".join(f"{t} {v}" for t, v in found.get("versions", {}).items())
        notes = [
            f"versions of the harness's tasks: {versions}",
            "n, modes and sampler do not apply",
        ]
        return Measured(cells, _samples(found), notes=notes, intervals=intervals,
                        higher=higher)  # fmt: skip

    def _run(self, desk: Desk) -> Mapping[str, Any]:
        from lm_eval import simple_evaluate
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager

        manager = TaskManager()
        if odd := [task for task in self.tasks if not manager.match_tasks([task])]:
            raise ConfigError(f"lm-evaluation-harness has no task '{odd[0]}'", where="task.tasks",
                              repair="lm_eval ls tasks shows all.")  # fmt: skip
        policy = desk.policy
        model = HFLM(pretrained=policy.model, tokenizer=policy.tokenizer, batch_size=self.batch)
        found: Mapping[str, Any] = simple_evaluate(
            model=model, tasks=list(self.tasks), num_fewshot=self.shots, limit=desk.limit,
            apply_chat_template=self.chat, task_manager=manager, log_samples=True,
            use_cache=str(desk.folder / CACHE), random_seed=desk.seed,
            numpy_random_seed=desk.seed, torch_random_seed=desk.seed,
            fewshot_random_seed=desk.seed,
        )  # fmt: skip
        return found


def _is_number(value: Any) -> bool:
    return isinstance(value, bool | int | float) and math.isfinite(value)


def _cells(task: str, metric: str, kind: str, samples: Any) -> dict[str, float]:
    """Values of the samples under this filter; none where one has no number."""
    own = [s for s in samples if s.get("filter", "none") == kind]
    values = {f"{task}:{s['doc_id']}": s.get(metric) for s in own}
    numbers = {key: float(v) for key, v in values.items() if v is not None and _is_number(v)}
    return numbers if len(numbers) == len(own) else {}


def _interval(value: float, stderr: Any) -> tuple[float, float, float, float]:
    error = float(stderr) if _is_number(stderr) else math.nan
    return value, error, value - Z_LEVEL * error, value + Z_LEVEL * error


def _samples(found: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for task, samples in found.get("samples", {}).items():
        for s in samples:
            values = {k: v for k, v in s.items() if k in s.get("metrics", ()) and _is_number(v)}
            yield {"key": f"{task}:{s['doc_id']}", "filter": s.get("filter", "none"),
                   "target": str(s.get("target")), "responses": str(s.get("filtered_resps")),
                   **values}  # fmt: skip
