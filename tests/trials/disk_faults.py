"""Full disks, read-only folders, damaged files."""

from __future__ import annotations

import resource
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

from tests.run.test_store import HARM
from tests.trials.bench import KINDS, Bench, Fault, Place, Row, told
from tests.trials.disks import full, read_only, small_disk
from tests.trials.ends import last_step, unlike
from tests.trials.process import Running

MEBIBYTE = 1 << 20


def full_store(kind: str, bench: Bench, row: Row) -> Row:
    """No room for one kind of entry."""
    with small_disk(bench.folder / row.name / "store", 16 * MEBIBYTE) as disk:
        place = bench.place(row.name)
        shutil.rmtree(place.store / kind)
        with full(disk):
            told(row, place, place.once(), 2, "No space left")
        return bench.ends(place, row, "resume=true")


def full_outputs(moment: str, bench: Bench, row: Row) -> Row:
    """No room in outputs from a moment on."""
    size = 512 * 1024 if moment == "checkpoint" else 16 * MEBIBYTE
    with small_disk(bench.folder / row.name / "outputs", size) as disk:
        place = bench.place(row.name)
        if moment == "run folder":
            with full(disk):
                told(row, place, place.once(), 2, "No space left")
        elif moment == "checkpoint":  # too small a disk for the first one
            told(row, place, place.once(), 2, "No space left")
        else:
            if moment == "summary":  # so that there is a stage before it to be seen
                shutil.rmtree(place.store / "accuracy")
            # A line of metrics fits into a page that is there: the disk is full before the next.
            running = place.start(*(("checkpoint.every=0",) if moment == "metrics.jsonl" else ()))
            if not running.wait_for(partial(_reached, moment, place, running)):
                raise RuntimeError("the run was over before the disk was full")
            with running.held():
                filled = full(disk)
                filled.__enter__()
            told(row, place, running.finish(), 2, "No space left")
            filled.__exit__(None, None, None)
        if moment != "checkpoint":
            return bench.ends(place, row, "resume=true")
        roomy = bench.place(row.name, outputs=place.folder / "elsewhere")
        shutil.copytree(place.run, roomy.run)
        return bench.ends(roomy, row, "resume=true")


def _reached(moment: str, place: Place, running: Running) -> bool:
    return {
        "manifest": lambda: (place.run / "config.yaml").is_file(),
        "metrics.jsonl": lambda: last_step(place.run) >= 1,
        "summary": lambda: "accuracy after:" in running.err,
    }[moment]()


def limited(kind: str, bench: Bench, row: Row) -> Row:
    """Files may not grow beyond a limit: a quota that needs no root."""
    place = bench.place(row.name)
    if kind == "models":
        shutil.rmtree(place.store / kind)
    running = place.start()
    resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (200_000, 200_000))
    told(row, place, running.finish(), 2, "File too large")
    return bench.ends(place, row, "resume=true")


def read_only_outputs(bench: Bench, row: Row) -> Row:
    """No run folder can be made."""
    with small_disk(bench.folder / row.name / "outputs", 16 * MEBIBYTE) as disk:
        place = bench.place(row.name)
        with read_only(disk):
            told(row, place, place.once(), 2, "cannot be written to")
        return bench.ends(place, row)


def read_only_store(warm: bool, bench: Bench, row: Row) -> Row:
    """Nothing can be added to the store; one that holds everything is enough."""
    with small_disk(bench.folder / row.name / "store", 16 * MEBIBYTE) as disk:
        place = bench.place(row.name, warm=warm)
        with read_only(disk):
            told(
                row,
                place,
                place.once(),
                0 if warm else 2,
                "" if warm else "store cannot be written",
            )
        return bench.ends(place, row)


def read_only_run(bench: Bench, row: Row) -> Row:
    """A run that cannot go on where it is."""
    with small_disk(bench.folder / row.name / "outputs", 16 * MEBIBYTE) as disk:
        place = bench.place(row.name, half=True)
        with read_only(disk):
            told(row, place, place.once("resume=true"), 2, "Read-only")
        return bench.ends(place, row, "resume=true")


def damaged_entry(kind: str, harm: str, bench: Bench, row: Row) -> Row:
    """An entry of the store that is not what was written."""
    place = bench.place(row.name)
    path = largest(place.store / kind)
    HARM[harm](path)
    told(row, place, place.once(), 0, path.parent.name if kind != "reference" else path.name)
    return bench.ends(place, row)


def damaged_checkpoint(name: str, harm: str, bench: Bench, row: Row) -> Row:
    """The newest checkpoint is not what was written."""
    place = bench.place(row.name, half=True)
    newest = max(place.run.glob("checkpoints/step-*"))
    HARM[harm](newest / name)
    told(row, place, place.once("resume=true"), 0, f"{newest.name}: {name}")
    return bench.ends(place, row)


def damaged_tokenizer(bench: Bench, row: Row) -> Row:
    """A tokenizer in the store is not what was written."""
    words = (
        "train", "objective=dpo", "data=pairs", f"data.path={largest(bench.store / 'pairs')}",
        "data.max_refused=1", "model=scratch", "model.vocabulary=512", "steps=3", "name=run",
        "model.shape.hidden_size=64", "model.shape.num_hidden_layers=1",
    )  # fmt: skip
    whole = replace(bench.place(f"{row.name}-whole", warm=False), base=words)
    whole.once()
    again = replace(bench.place(row.name, warm=False), base=words, store=whole.store)
    path = largest(again.store / "tokenizers")
    HARM["cut"](path)
    told(row, again, again.once(), 0, path.parent.name)
    differ = unlike(whole.run, again.run) if row.code == 0 else ["no end"]
    row.end, row.wrong = (", ".join(differ), "another end") if differ else ("same", row.wrong)
    return row


def largest(folder: Path) -> Path:
    """The largest file below."""
    return max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def faults() -> dict[tuple[str, str], Fault]:
    """(fault, stage) -> the trial."""
    found: dict[tuple[str, str], Fault] = {}
    for kind in KINDS:
        found["disk full", f"store: {kind}"] = partial(full_store, kind)
    for moment in ("run folder", "manifest", "metrics.jsonl", "checkpoint", "summary"):
        found["disk full", moment] = partial(full_outputs, moment)
    found["file size limit", "store: models"] = partial(limited, "models")
    found["file size limit", "checkpoint"] = partial(limited, "checkpoint")
    found["read-only", "outputs"] = read_only_outputs
    found["read-only", "store, empty"] = partial(read_only_store, False)
    found["read-only", "store, warm"] = partial(read_only_store, True)
    found["read-only", "run folder"] = read_only_run
    for kind in KINDS:
        for harm in ("cut", "flipped", *(() if kind == "reference" else ("gone",))):
            found[f"file {harm}", f"store: {kind}"] = partial(damaged_entry, kind, harm)
    found["file cut", "store: tokenizers"] = damaged_tokenizer
    for name, harm in (("policy/model.safetensors", "flipped"), ("engine/optimizer.pt", "cut"),
                       ("state.json", "gone")):  # fmt: skip
        found[f"file {harm}", f"checkpoint: {name}"] = partial(damaged_checkpoint, name, harm)
    return found
