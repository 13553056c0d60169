"""Seeds of one configuration pooled into a row, everything else a row of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bvrank.reports.evaluations import Way, evaluated, names_of, remarks
from bvrank.reports.figures import figures, is_number
from bvrank.reports.spread import Spread, spread
from bvrank.run import IGNORED, RunRecord, label, to_json
from bvrank.run.identity import canonical, flatten, without_seeds

MISSING = "-"
FEW_KEYS = 3  # settings up to which each is told everywhere; of more, what it takes
UNSHOWN = (*IGNORED, "seed")  # top-level keys that do not tell configurations apart


@dataclass(frozen=True)
class Row:
    """One configuration over its seeds, or one run that did not finish.

    `keys` are the settings by which it differs from the other rows, `told` those of them that a
    name has to say to be its own; `runs` are the records behind it.
    """

    name: str
    keys: Mapping[str, str]
    runs: tuple[RunRecord, ...]
    figures: Mapping[str, Spread]
    status: str
    told: tuple[str, ...] = ()

    @property
    def n(self) -> int:
        """Seeds behind the figures: 0 for a run that did not finish."""
        return len(self.runs) if self.status == "finished" else 0

    @property
    def seeds(self) -> str:
        """The seeds, as in `0-3, 7`."""
        return ranges(r.seed for r in self.runs)

    @property
    def objective(self) -> str:
        """The label of what was optimised; "" when its config is lost."""
        target = _target(self.runs[0], "objective")
        return label(target) if target else ""

    @property
    def title(self) -> str:
        """Its name with all that tells it apart, for a legend."""
        ended = [] if self.status == "finished" else [f"s{self.seeds}", f"({self.runs[0].status})"]
        return " ".join([self.name, *self.settings, *ended])

    @property
    def settings(self) -> list[str]:
        """What tells it apart, as in `alpha=0.5`; the whole key where its end is not its own."""
        ends = Counter(key.rpartition(".")[2] for key in self.told)
        named = {k: end if ends[end := k.rpartition(".")[2]] == 1 else k for k in self.told}
        return [f"{named[k]}={self.keys[k]}" for k in self.told if self.keys[k] != MISSING]


def rows_of(records: Sequence[RunRecord]) -> tuple[list[Row], list[str]]:
    """Finished runs pooled over seeds, then each unfinished one; and remarks: on runs left out,
    on why runs ended, on damage."""
    shown = _telling_keys(records)
    done = [r for r in records if r.status == "finished"]
    groups: dict[str, dict[str, RunRecord]] = {}
    notes = []
    for record in sorted(done, key=lambda r: str(r.manifest.get("ended")), reverse=True):
        seeds = groups.setdefault(to_json(_without_nulls(_identity(record))), {})
        if (newest := seeds.setdefault(to_json(record.seed), record)) is not record:
            notes.append(
                f"{record.name} repeats {newest.name} (same seed) and is not counted again."
            )
    pooled = [sorted(g.values(), key=lambda r: str(r.path)) for g in groups.values()]
    pooled.sort(key=lambda group: _place(group[0], shown))
    names = names_of(done)
    rows = [_row(group, shown, names) for group in pooled]
    rows += [_row([r], shown, names) for r in records if r.status != "finished"]
    notes += [f"{r.name}: {_end(r, r.message)}." for r in records if r.status != "finished"]
    notes += [f"{r.name}: {problem}." for r in records for problem in r.problems]
    notes += remarks([r for group in pooled for r in group])
    return [_telling(row, rows) for row in rows], notes


def _telling(row: Row, rows: Sequence[Row]) -> Row:
    """The row with what it has to tell: a few keys all, of many those that namesakes differ in."""
    if len(row.keys) <= FEW_KEYS:
        return replace(row, told=tuple(row.keys))
    namesakes = [r for r in rows if r.name == row.name]
    told = [k for k in row.keys if len({r.keys[k] for r in namesakes}) > 1]
    return replace(row, told=tuple(told))


def _row(runs: Sequence[RunRecord], shown: Sequence[str], names: Mapping[Way, str]) -> Row:
    first, settings = runs[0], _settings(runs[0])
    keys = {k: _text(settings[k]) if k in settings else MISSING for k in shown}
    finished = first.status == "finished"
    values: dict[str, list[float]] = {}
    for record in runs if finished else ():
        for name, value in figures(record).items():
            values.setdefault(name, []).append(value)
    spreads = {name: spread(v) for name, v in values.items()}
    spreads |= evaluated(runs, names) if finished else {}
    return Row(_name(first), keys, tuple(runs), spreads, "finished" if finished else _end(first))


def _end(record: RunRecord, message: str = "") -> str:
    step = record.metrics[-1]["step"] if record.metrics else 0
    return f"{record.status} at step {step}" + (f": {message.rstrip('.')}" if message else "")


def _name(record: RunRecord) -> str:
    targets = [_target(record, "objective"), _target(record, "data")]
    return "-".join(label(t) for t in targets if t) or record.name


def _target(record: RunRecord, key: str) -> str:
    node = record.config.get(key)
    return str(node.get("_target_") or "") if isinstance(node, Mapping) else ""


def _identity(record: RunRecord) -> dict[str, Any]:
    kept = {k: v for k, v in record.config.items() if k not in UNSHOWN}
    found: dict[str, Any] = canonical(_effective(without_seeds(kept, record.seed)))
    return found or {"name": record.name}  # a run whose config is lost is like no other


def _effective(node: Any) -> Any:
    """A config in which a mix (bvpo) has its betas under its own keys, wherever they come from: its
    `beta` stands in place of its loss's, and `bare_beta` is the same where it is null."""
    if not isinstance(node, Mapping):
        return node
    found = {k: _effective(v) for k, v in node.items()}
    loss = found.get("loss")
    if not isinstance(loss, Mapping) or "beta" not in found:
        return found
    beta = loss.get("beta") if found["beta"] is None else found["beta"]
    bare = found.get("bare_beta")
    betas = {"beta": beta, "bare_beta": beta if bare is None else bare}
    kept = {k: v for k, v in found.items() if k not in betas}
    kept["loss"] = {k: v for k, v in loss.items() if k != "beta"}
    return kept | ({} if beta is None else betas)


def _without_nulls(node: Any) -> Any:
    """For what is the same: a key that is null, and one that there was not yet."""
    if not isinstance(node, Mapping):
        return node
    return {k: _without_nulls(v) for k, v in node.items() if v is not None}


def _settings(record: RunRecord) -> dict[str, Any]:
    """Dotted keys and values; a node's `_target_` is the node's own value, by its label."""
    found = {k: v for k, v in flatten(_identity(record)).items() if v != {}}
    own = "._target_"
    return {k.removesuffix(own): label(str(v)) if k.endswith(own) else v for k, v in found.items()}


def _telling_keys(records: Sequence[RunRecord]) -> list[str]:
    """Keys with two values among the runs that have them, or present in some runs only.

    A key that comes and goes with the target of a node above it is told by that target already;
    the objective's and the data's targets are told by the row's name.
    """
    settings = [_settings(r) for r in records if r.config]
    keys = dict.fromkeys(k for s in settings for k in s)
    return [k for k in keys if k not in ("objective", "data") and _tells(k, settings)]


def _tells(key: str, settings: Sequence[Mapping[str, Any]]) -> bool:
    there = [s for s in settings if key in s]
    values = {_text(s[key]) for s in there}
    whole = key.replace("bare_beta", "beta")
    if values == {"null"} or (whole != key and all(s[key] == s.get(whole) for s in there)):
        return False  # of nothing, or the one beta of both views
    if len(values) > 1:
        return True
    parts = key.split(".")
    above = [".".join(parts[:i]) for i in range(1, len(parts))]
    present: dict[Any, set[bool]] = {}
    for s in settings:
        present.setdefault(to_json([s.get(node) for node in above]), set()).add(key in s)
    return any(len(seen) > 1 for seen in present.values())


def _place(record: RunRecord, shown: Sequence[str]) -> tuple[Any, ...]:
    """Where a row stands: by name, then by its settings, numbers by size and before words."""
    settings = _settings(record)
    values = [settings.get(key) for key in shown]
    ranked = [(0, v, "") if is_number(v) else (1, 0.0, _text(v)) for v in values]
    return (_name(record), ranked, record.name)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else to_json(value)


def ranges(seeds: Iterable[Any]) -> str:
    """Whole numbers, as in `0-3, 7`."""
    numbers = sorted({s for s in seeds if isinstance(s, int)})
    parts: list[list[int]] = []
    for s in numbers:
        if parts and s == parts[-1][-1] + 1:
            parts[-1].append(s)
        else:
            parts.append([s])
    return ", ".join(f"{p[0]}-{p[-1]}" if len(p) > 1 else str(p[0]) for p in parts) or MISSING
