"""The end of `bvrank sample`: selection, files, card, hashes, and what the user sees of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bvrank.commands.absence import noted
from bvrank.commands.ground import Ground, checked
from bvrank.commands.origin import SERVER
from bvrank.commands.sampling import Request
from bvrank.commands.words import named
from bvrank.data.refusals import write_refused
from bvrank.data.turns import written_prompt
from bvrank.errors import DataError, ModelError
from bvrank.records import Mode
from bvrank.run import RunFolder
from bvrank.run.folder import told
from bvrank.sampling.agreement import Agreement, agreement
from bvrank.sampling.card import card, count_lines
from bvrank.sampling.facts import NAMES, Facts, Tally, reason
from bvrank.sampling.pipeline import ModeCount, mark, responses_of, scores_of, select
from bvrank.sampling.remarks import remarks
from bvrank.sampling.responses import Prompt, Shelf
from bvrank.sampling.writing import write_pairs, write_sums
from bvrank.secrets import redact

CARD = "README.md"
LONG = 100  # characters of a setting on the card
TOLD = "told.json"  # what the closing table shows, for a later look


def close(asked: Request, run: RunFolder, ground: Ground, policy: Any) -> None:
    """Compares, selects and writes. DataError when there is no pair: the responses stay."""
    made, prompts = responses_of(run.path), ground.prompts
    found = _agreement(asked, ground, made, policy)
    counts: dict[Mode, ModeCount] = {mode: ModeCount() for mode in asked.settings.modes}
    tally = Tally()
    scores = scores_of(run.path, asked.reward)
    how = asked.settings.select, ground.fits, asked.settings.seed
    rows = select(prompts, made, scores, *how, counts)
    with told(run.path):
        files = write_pairs(
            run.path, _tallied(rows, tally), asked.settings.formats,
            lists=asked.settings.select.traces > 1, messages=not all(map(_is_text, prompts)),
        )  # fmt: skip
    reasons = Counter(r.reason for r in ground.refused)
    limit = "sampler.max_new_tokens" if hasattr(asked.sampler, "max_new_tokens") else None
    facts = Facts(len(prompts), asked.settings.n, reasons, counts, tally, found, _settings(asked),
                  limit, ground.survey, _served(asked))  # fmt: skip
    if not any(count.pairs for count in counts.values()):
        for file in files:
            file.unlink()
        raise _no_pair(facts, run.path)
    with told(run.path):
        (run.path / CARD).write_text(card(facts), encoding="utf-8")
        write_refused(run.path / "refused.jsonl", ground.refused)
        lines = {"counts": count_lines(facts), "remarks": list(remarks(facts)),
                 "heads": [_name(m) for m in counts], "files": [p.name for p in files],
                 "model": _model(asked, policy),
                 "agreement": None if found is None else found.told(),
                 "objective": _objective(counts)}  # fmt: skip
        (run.path / TOLD).write_text(json.dumps(lines, indent=1), encoding="utf-8")
        write_sums(run.path)
    run.update(away=noted({"sampler": made.missing, "reward": scores.missing}, asked.parts))
    unscored = {m: c.spared + sum(c.unscored.values()) for m, c in counts.items()}
    run.finish({"final": {f"{m}/pairs": c.pairs for m, c in counts.items()}, "unscored": unscored})


def show(folder: Path) -> int:
    """The closing table of a finished folder, and the command to try next."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    lines = json.loads((folder / TOLD).read_text(encoding="utf-8"))
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=160)
    table = Table(box=box.SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("")
    for head in lines["heads"]:
        table.add_column(head, justify="right")
    for line in lines["counts"]:
        table.add_row(*line)
    console.print(table)
    for remark in lines["remarks"]:
        console.print(f"note: {remark}", markup=False)
    if lines["agreement"] is not None:
        console.print(f"check: {lines['agreement']}")
    first = folder / lines["files"][0]
    console.print(f"card: {folder / CARD}", markup=False, soft_wrap=True)
    words = f"objective={lines['objective']} data=pairs {named('data.path', first)}"
    words += lines.get("model", "")
    console.print(f"next: bvrank train {words}", markup=False, soft_wrap=True)
    return 0


def _model(asked: Request, policy: Any) -> str:
    """The words for the model that answered, where it is not the one that trains by default."""
    if policy is None:
        return " model=hf model.path=..."
    path = asked.config["model"].get("path")
    return "" if path is None else f" model=hf {named('model.path', path)}"


def _objective(counts: Mapping[Mode, ModeCount]) -> str:
    """What can train on the modes that have pairs."""
    paired = {mode for mode, count in counts.items() if count.pairs}
    if len(paired) > 1:
        return "bvpo"
    return "dpo" if "thinking" in paired else "dpo objective.view=bare"


def _agreement(asked: Request, ground: Ground, made: Shelf, policy: Any) -> Agreement | None:
    if policy is None or asked.settings.check.rows == 0:
        return None
    by_row, wanted = {p.row: p for p in ground.prompts}, checked(asked, ground)
    keys = [k for k in made.ordered() if k[1:] in wanted]
    drawn = [(by_row[m.row], m) for m in made.get(keys) if m.ids is not None]
    how = policy.template, policy.scorer(), asked.settings.tolerance
    try:
        return agreement(drawn, policy.collator(), *how)
    except ModelError as error:
        if error.where != "model":
            raise
        return agreement(drawn, policy.collator("padded"), *how)  # a family that forbids packing


def _served(asked: Request) -> str | None:
    """The model that a server is asked for."""
    server = getattr(asked.sampler, "server", None)
    return None if server is None else str(server.model)


def _tallied(rows: Iterator[dict[str, Any]], tally: Tally) -> Iterator[Mapping[str, Any]]:
    for row in rows:
        tally.add(row)
        yield row


def _no_pair(facts: Facts, folder: Path) -> DataError:
    told = [
        f"{NAMES[mode]} {what}: " + ", ".join(f"{n:,} {reason(name)}" for name, n in found)
        for mode, count in facts.counts.items()
        for what, found in (("responses", (count.left_out + count.unscored).most_common()),
                            ("prompts", count.without.most_common())) if found
    ]  # fmt: skip
    without = sum((count.without for count in facts.counts.values()), Counter[str]())
    ways = ["More of them (n)", "a higher temperature"] if facts.limit else []
    ways += ["a smaller select.margin"] if without["margin"] else []
    ways += ["another reward"] if without["margin"] + without["tie"] else []
    tried = " or ".join(filter(None, (", ".join(ways[:-1]), ways[-1]))) if ways else ""
    repair = f"{tried[:1].upper()}{tried[1:]} may give pairs." if ways else (
        "What is left out is up to modes, sampler and select.")  # fmt: skip
    return DataError(f"no prompt gives a pair ({'; '.join(told)})", where=str(folder),
                     repair=f"The responses stay. {repair}")  # fmt: skip


def _settings(asked: Request) -> list[tuple[str, str]]:
    config = asked.config
    select = ", ".join(f"{k} {v}" for k, v in config["select"].items())
    modes = ", ".join(config["modes"])
    return [
        ("prompts", _node(config["prompts"])), ("sampler", _node(config["sampler"])),
        *([("model", _node(config["model"]))] if asked.model is not None else []),
        ("reward", _node(config["reward"])),
        ("scores", f"scores-{mark(asked.reward)}-*.jsonl; others are of other rewards"),
        ("selection", select),
        ("responses", f"{config['n'] or 'all'} in each of {modes}, seed {config['seed']}"),
        ("files", "SHA256SUMS has their hashes: sha256sum -c SHA256SUMS; manifest.json and "
                  "summary.json, which say when and how it ended, are written later"),
    ]  # fmt: skip


def _node(node: Mapping[str, Any]) -> str:
    name = str(node["_target_"]).rpartition(".")[2]
    return ", ".join([name, *_flat(redact(dict(node)))])


def _flat(node: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """`key value` of all that is set, by dotted keys; of a server not how patiently it is asked."""
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif value not in (None, []) and key not in SERVER and not key.startswith("_"):
            told = " ".join(str(value).split())
            yield f"{prefix}{key} {told if len(told) <= LONG else told[:LONG] + '...'}"


def _is_text(prompt: Prompt) -> bool:
    return isinstance(written_prompt(prompt.messages), str)


def _name(mode: Mode) -> str:
    return {"thinking": "Thinking", "nothinking": "NoThinking"}.get(mode, mode)
