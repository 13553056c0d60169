"""Writes docs/objectives.md and its pictures from the code: `make docs`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from bvrank.commands.build import build
from bvrank.commands.compose import composed, flat_keys, frozen
from bvrank.commands.help import comments
from bvrank.objectives.base import Listwise, Pairwise, Weighted
from bvrank.objectives.gains import WEIGHTS, rank_weights
from bvrank.objectives.marginal import Marginal
from bvrank.paths import conf_dir
from docs.curves import GRADES, Chart, charts, counts, measured, overlays
from docs.pictures import drawn

HERE = Path(__file__).resolve().parent
PAGE, FOLDER, TEMPLATE = "objectives.md", "objectives", "objectives.in.md"
MODEL = "model=hf model.path=my-model"
DATA = {
    "pairs": "data=pairs data.path=pairs.jsonl",
    "views": "data=pairs data.path=thinking.jsonl data.bare_path=nothinking.jsonl",
    "lists": "data=lists data.path=lists.jsonl",
}
# Relevances of a list, and how a column is headed.
TIES: dict[str, tuple[float, ...]] = {
    "graded": (2, 1, 0), "two best": (1, 1, 0), "all alike": (1, 1, 1), "none relevant": (0, 0, 0),
    "one, relevant": (1,), "one, not": (0,),
}  # fmt: skip
ARXIV = re.compile(r"(?:arXiv )?\b(\d{4}\.\d{5})\b")
CITED = re.compile(r"[A-Z]\w+(?:(?:, \w+)* and \w+| et al\.), \d{4}")


@dataclass(frozen=True)
class Told:
    """An objective and what its files say of it."""

    name: str
    objective: Any
    source: str
    formula: str
    explained: tuple[str, ...]
    use_when: str
    keys: tuple[tuple[str, Any, str], ...]

    @property
    def kind(self) -> str:
        """Which chapter it stands in."""
        if isinstance(self.objective, Listwise):
            return "listwise"
        if isinstance(self.objective, Marginal) or len(self.objective.views) > 1:
            return "mixed"
        return "pairwise" if isinstance(self.objective, Pairwise) else "other"

    @property
    def data(self) -> str:
        """Which of DATA it is shown with."""
        if len(self.objective.views) > 1:
            return "views"
        return "lists" if self.kind == "listwise" else "pairs"

    @property
    def takes(self) -> str:
        """Its input in a few words."""
        if isinstance(self.objective, Marginal):
            return "pairs of answers, several traces each"
        if len(self.objective.views) > 1:
            return "pairs in both views"
        if self.objective.candidates == 1:
            return "the best candidate"
        return "lists" if self.kind == "listwise" else "pairs"


def told(name: str) -> Told:
    """Reads conf/ and the docstrings. ValueError when one lacks what the page needs."""
    chosen = [f"objective={name}", *DATA["pairs"].split()]
    node = frozen(composed("train", chosen))["objective"]
    objective = build(node, "objective")
    formula, *explained, use_when = inspect.cleandoc(type(objective).__doc__ or "").split("\n\n")
    if not use_when.startswith("Use when: "):
        raise ValueError(f"{type(objective).__name__}: the docstring ends without 'Use when: '")
    meaning = comments("train", chosen)
    keys = tuple(
        (f"objective.{key}", _value(node, key), meaning.get(f"objective.{key}", ""))
        for key in sorted(flat_keys(node), key=lambda key: key.count("."))
        if not key.endswith("_target_") and not isinstance(_value(node, key), dict)
    )
    source = inspect.getmodule(type(objective)).__doc__ or ""
    return Told(
        name, objective, _line(source), _line(formula).removesuffix("."),
        tuple(map(_line, explained)), _line(use_when.removeprefix("Use when: ")), keys,
    )  # fmt: skip


def _value(node: Any, key: str) -> Any:
    for part in key.split("."):
        node = node[part]
    return node


def _line(text: str) -> str:
    return " ".join(text.split())


def files() -> dict[str, str]:
    """Path below docs/ -> text, of the page and every picture."""
    every = [told(p.stem) for p in sorted((conf_dir() / "objective").glob("*.yaml"))]
    objectives = {t.name: t.objective for t in every}
    shared = list(overlays(objectives))
    own = {t.name: list(charts(t.name, t.objective)) for t in every}
    parts = {
        "contents": " · ".join(f"[`{t.name}`](#{t.name})" for t in every),
        "comparison": comparison(every),
        "ties": ties(every),
        "weights": weights(),
        "grades": ", ".join(f"{y:g}" for y in GRADES),
    }
    for kind in ("pairwise", "listwise"):
        parts[kind] = pictures([c for c in shared if c.name.startswith(kind)])
    for kind in ("pairwise", "mixed", "listwise", "other"):
        chapter = (section(t, own[t.name]) for t in every if t.kind == kind)
        parts[f"{kind} sections"] = "\n\n".join(chapter)
    page = (HERE / TEMPLATE).read_text(encoding="utf-8")
    page = re.sub(r"\{\{([\w ]+)\}\}", lambda m: parts[m[1]], page)
    drawings = [*shared, *(c for found in own.values() for c in found)]
    return {PAGE: page, **{f"{FOLDER}/{c.name}.svg": drawn(c) for c in drawings}}


def comparison(every: Iterable[Told]) -> str:
    """One line an objective, chapter by chapter."""
    order = ("pairwise", "mixed", "listwise", "other")
    lines = [
        (f"[`{t.name}`](#{t.name})", _cited(t.source), _yes(t.objective.needs_reference), t.takes,
         _beta(t), _cell(_first(t.use_when)))
        for t in sorted(every, key=lambda t: order.index(t.kind))
    ]  # fmt: skip
    return table(("objective", "source", "reference", "input", "`beta`", "use when"), lines)


def _cited(source: str) -> str:
    found = [f"[{n}](https://arxiv.org/abs/{n})" for n in ARXIV.findall(source)]
    return ", ".join([*CITED.findall(source), *found]) or "none"


def _first(text: str) -> str:
    return text.split(". ")[0].removesuffix(".")


def _beta(t: Told) -> str:
    values = {k: v for k, v, _ in t.keys}
    beta = values.get("objective.beta")
    return "none" if "objective.beta" not in values else _shown(
        values["objective.loss.beta"] if beta is None else beta)  # fmt: skip


def section(t: Told, found: Sequence[Chart]) -> str:
    """All that is to be said of one objective."""
    views = " and ".join(f"`{v}`" for v in t.objective.views)
    reference = "a reference" if t.objective.needs_reference else "no reference"
    some = ", or lists of which `objective.pairs` takes some" if t.takes == "pairs" else ""
    plural = "s" if len(t.objective.views) > 1 else ""
    rows = [(f"`{k}`", f"`{_shown(v)}`", _cell(comment)) for k, v, comment in t.keys]
    parts = [
        f"### {t.name}",
        ARXIV.sub(lambda m: f"[{m[0]}](https://arxiv.org/abs/{m[1]})", t.source),
        f"```text\n{t.formula}\n```",
        *map(_prose, t.explained),
        f"**Use when** {_prose(t.use_when)}",
        f"**Needs** {reference}; {t.takes}{some}; by default the view{plural} {views}.",
        pictures(found) or "No picture: a straight line, whose gradient by each log-prob is -1.",
        table(("key", "default", "meaning"), rows),
        f"```bash\n{command(t)}\n```",
    ]
    return "\n\n".join(filter(None, parts))


def command(t: Told) -> str:
    """A run on data of one's own; and on the demo's, where it is tuned for that."""
    lines = [f"bvrank train objective={t.name} {DATA[t.data]} {MODEL}"]
    recipe = conf_dir() / "recipe" / f"arithmetic_{t.name}.yaml"
    if recipe.is_file():
        tuned = yaml.safe_load(recipe.read_text(encoding="utf-8"))["objective"]["beta"]
        lines.append(f"bvrank train objective={t.name}  # the demo, where beta is {tuned:g}")
    return "\n".join(lines)


def pictures(found: Sequence[Chart]) -> str:
    """Side by side where there is room."""
    return "\n".join(
        f'<img src="{FOLDER}/{c.name}.svg" width="400" align="top" '
        f'alt="{c.name.rpartition("-")[0]}: {c.heading}, against the {c.across}">' for c in found
    )  # fmt: skip


def ties(every: Iterable[Told]) -> str:
    """What each objective makes of labels that leave little to prefer."""
    heads = [f"{k} ({', '.join(f'{y:g}' for y in ys)})" for k, ys in TIES.items()]
    lines = [(f"`{t.name}`", *(_counted(t.objective, ys) for ys in TIES.values())) for t in every]
    return table(("objective", *heads), lines)


def _counted(objective: Any, relevance: Sequence[float]) -> str:
    scores = torch.zeros(len(objective.views), 1, len(relevance), dtype=torch.float64)
    uneven = scores + torch.tensor([0.3, -1.1, 0.8], dtype=torch.float64)[: len(relevance)]
    if not counts(objective, scores, relevance):
        return "-"
    loss = float(measured(objective, scores, relevance)[0])
    pulls = any(bool(measured(objective, s, relevance)[1].abs().max() > 1e-12)
                for s in (scores, uneven))  # fmt: skip
    return f"{loss + 0.0:.3f}" + ("" if pulls else r" \*")


def weights() -> str:
    """The rank weights by their docstring, and what they are in the pictures' list."""
    _, formulas, ties_told = inspect.cleandoc(rank_weights.__doc__ or "").split("\n\n")
    meaning = dict(f.split(" ", 1) for f in _line(formulas).removesuffix(".").split(" | "))
    y = torch.tensor(GRADES, dtype=torch.float64)
    rows = []
    for name in WEIGHTS:
        values = rank_weights(y, y, y > -1, name, "averaged", Weighted.k, Weighted.decay)
        numbers = ", ".join(f"{v:.3g}" for v in values.tolist())
        rows.append((f"`{name}`", f"`{meaning[name]}`".replace("|", r"\|"), numbers))
    heads = (
        "`weight`",
        "gain times discount",
        f"in the list {', '.join(f'{g:g}' for g in GRADES)}",
    )
    return f"{table(heads, rows)}\n\n`i` is the rank. {_prose(_line(ties_told))}"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _shown(value: Any) -> str:
    return (
        "null" if value is None else str(value).lower() if isinstance(value, bool) else f"{value}"
    )


def _prose(text: str) -> str:
    """Text of a docstring or comment as Markdown, without what concerns callers alone."""
    text = re.sub(r" ?ConfigError [^.]*\.", "", text)
    marks = {"*": r"\*", "<": "&lt;"}
    return re.sub(r"`[^`]*`|[*<]", lambda m: marks.get(m[0], m[0]), text)


def _cell(text: str) -> str:
    return _prose(text).replace("|", r"\|")


def _yes(answer: bool) -> str:
    return "yes" if answer else "no"


def main() -> None:
    """Writes what is new and removes pictures that are none any more."""
    made = files()
    (HERE / FOLDER).mkdir(exist_ok=True)
    for old in (HERE / FOLDER).glob("*.svg"):
        if f"{FOLDER}/{old.name}" not in made:
            old.unlink()
    for path, text in made.items():
        (HERE / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
