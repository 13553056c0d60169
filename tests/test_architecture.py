"""Who may import whom, and that conf/ mirrors the code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import yaml

from tests.commands.line import ROOT

FLOORS = (
    {
        "records",
        "protocols",
        "errors",
        "paths",
        "answers",
        "hub",
        "ranks",
        "secrets",
        "signs",
        "statistics",
        "student",
    },
    {"objectives"},
    {"scoring", "data", "models", "run", "tracking"},
    {"engines", "sampling", "rewards", "evaluation", "checkpoint", "reports", "lab"},
    {"trainer", "bench"},
    {"commands", "cli", "__main__"},
)  # fmt: skip
NARROW = {
    "trainer": {"records", "protocols", "errors", "checkpoint"},
    "reports": {"records", "errors", "paths", "run", "secrets", "statistics", "evaluation"},
}
ONE_FILE_EACH = ("deepspeed", "wandb", "vllm", "openai", "lm_eval")  # and lazily
SEVERAL = {"deepspeed": "zero", "mix": "mix_"}  # a file with more than one option in conf/
FILES = sorted((ROOT / "bvrank").rglob("*.py"))
# What others of the room are made of.
BASES = {"bvrank/objectives/base.py", "bvrank/data/converters/choices.py"}
# Room -> the methods, one of which makes a class of it something a config can name.
MIRRORED = {"objectives": ("loss|__call__", "objective"), "data": ("rows", "data"),
            "engines": ("start", "engine"), "models": ("model", "model"),
            "data/converters": ("convert", "from"),
            "tracking": ("tracker", "tracker"),
            "rewards": ("scores", "reward")}  # fmt: skip


def imports(path: Path, top: bool = False) -> Iterator[str]:
    """The dotted names that a file imports; `top`: when it is imported itself."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    guarded = {id(n) for i in ast.walk(tree) if isinstance(i, ast.If) for n in ast.walk(i)
               if "TYPE_CHECKING" in ast.unparse(i.test)}  # fmt: skip
    nodes = tree.body if top else [n for n in ast.walk(tree) if id(n) not in guarded]
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(path: Path) -> str:
    return path.relative_to(ROOT / "bvrank").parts[0].removesuffix(".py")


def rooms_of(path: Path) -> set[str]:
    """The other rooms that a file imports."""
    ours = [name.split(".") for name in imports(path) if name.split(".")[0] == "bvrank"]
    return {parts[1] for parts in ours if len(parts) > 1} - {room(path), "__version__"}


def floor(name: str) -> int:
    return next(n for n, rooms in enumerate(FLOORS) if name in rooms)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nobody_imports_from_a_floor_above(path: Path) -> None:
    if room(path) == "__init__":
        assert not rooms_of(path)
        return
    for other in rooms_of(path):
        assert floor(other) <= floor(room(path)), f"{room(path)} imports {other}"
        assert other in NARROW.get(room(path), {other}), f"{room(path)} imports {other}"


def test_rooms_do_not_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for path in FILES:
        graph.setdefault(room(path), set()).update(rooms_of(path))
    list(TopologicalSorter(graph).static_order())


def test_only_the_commands_know_hydra() -> None:
    for path in FILES:
        if room(path) != "commands":
            known = {name.split(".")[0] for name in imports(path)}
            assert not known & {"hydra", "omegaconf"}, path


def test_optional_libraries_are_imported_in_one_file_and_lazily() -> None:
    for library in ONE_FILE_EACH:
        users = [p for p in FILES if library in {n.split(".")[0] for n in imports(p)}]
        assert len(users) <= 1, users
        assert all(library not in {n.split(".")[0] for n in imports(p, top=True)} for p in users)


def test_reading_runs_needs_no_torch() -> None:
    for path in FILES:
        if room(path) in ("reports", "run", "records", "errors", "paths", "protocols"):
            heavy = {name.split(".")[0] for name in imports(path)} & {"torch", "transformers"}
            assert not heavy, path


def namable(folder: str, wanted: str) -> dict[str, set[str]]:
    """Module -> its classes that have one of the methods `wanted`, their own or of BASES."""
    found: dict[str, set[str]] = {}
    heirs: set[str] = set()
    paths = (ROOT / "bvrank" / folder).glob("*.py")
    for path in sorted(paths, key=lambda p: str(p.relative_to(ROOT)) not in BASES):
        base = str(path.relative_to(ROOT)) in BASES
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            parents = {ast.unparse(b) for b in node.bases} if isinstance(node, ast.ClassDef) else ()
            if not isinstance(node, ast.ClassDef) or any("Protocol" in p for p in parents):
                continue
            methods = {n.name for n in node.body if isinstance(n, ast.FunctionDef)}
            if not (methods & {*wanted.split("|")} or heirs & {*parents}):
                continue
            if base:
                heirs.add(node.name)
            else:
                found.setdefault(path.stem, set()).add(node.name)
    return found


@pytest.mark.parametrize("folder", MIRRORED)
def test_conf_mirrors_the_code(folder: str) -> None:
    wanted, group = MIRRORED[folder]
    modules = namable(folder, wanted)
    files = {p.stem: p for p in (ROOT / "conf" / group).glob("*.yaml")}
    named: set[str] = set()
    for name, path in files.items():
        text = path.read_text(encoding="utf-8")
        node = yaml.safe_load(text)
        node = node[group] if text.startswith("# @package _global_") else node
        module, _, target = node["_target_"].rpartition(".")
        room, _, file = module.rpartition(".")
        assert room == f"bvrank.{folder.replace('/', '.')}"
        assert file == name or (file in SEVERAL and name.startswith(SEVERAL[file]))
        assert target in modules[file]
        named.add(file)
    assert named == set(modules)


def test_an_objective_is_a_short_file() -> None:
    for name in (p.stem for p in (ROOT / "conf" / "objective").glob("*.yaml")):
        text = (ROOT / "bvrank" / "objectives" / f"{name}.py").read_text(encoding="utf-8")
        assert len(text.splitlines()) < 60, name


def test_tests_mirror_the_package() -> None:
    """A test file that follows no source file is lost when that one moves."""
    for path in (ROOT / "tests").rglob("test_*.py"):
        relative = path.relative_to(ROOT / "tests")
        source = ROOT / "bvrank" / relative.with_name(relative.name.removeprefix("test_"))
        if len(relative.parts) > 1 and (ROOT / "bvrank" / relative.parts[0]).is_dir():
            package = source.with_suffix("")
            assert source.is_file() or package.is_dir(), f"{relative} tests no file"
