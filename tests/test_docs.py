"""docs/objectives.md says what the code says: it is what `make docs` makes of it now."""

from __future__ import annotations

import re
import shlex
from xml.etree import ElementTree

import pytest
import yaml

from bvrank.commands.compose import composed
from docs.objectives import FOLDER, HERE, PAGE, files
from tests.commands.line import ROOT
from tests.test_readme import PATHS, commands

OPTIONS = sorted((ROOT / "conf" / "objective").glob("*.yaml"))
LARGEST = 40_000  # bytes of a picture


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    return files()


@pytest.fixture(scope="module")
def page(made: dict[str, str]) -> str:
    return made[PAGE]


def pictures(made: dict[str, str]) -> dict[str, str]:
    return {path: text for path, text in made.items() if path.endswith(".svg")}


def test_nothing_is_stale(made: dict[str, str]) -> None:
    stale = [p for p, text in made.items() if not _same(p, text)]
    drawn = {f"{FOLDER}/{p.name}" for p in (HERE / FOLDER).iterdir()}
    left = drawn - set(made)
    assert not stale and not left, f"`make docs` writes {stale} anew and removes {sorted(left)}"


def _same(path: str, text: str) -> bool:
    file = HERE / path
    return file.is_file() and file.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("option", OPTIONS, ids=lambda p: p.stem)
def test_every_objective_has_its_section_with_every_key(option, page: str) -> None:
    _, _, section = page.partition(f"\n### {option.stem}\n")
    section = re.split(r"\n##+ ", section)[0]
    assert "```text\n" in section and "**Use when**" in section and "**Needs**" in section
    rows = dict(
        re.findall(r"^\| `objective\.([\w.]+)` \| `.*?` \| (.*) \|$", section, re.MULTILINE)
    )
    keys = set(yaml.safe_load(option.read_text(encoding="utf-8"))) - {"_target_", "defaults"}
    assert keys <= set(rows) and all(rows.values())
    assert f"| [`{option.stem}`](#{option.stem}) |" in page


def test_every_command_composes(page: str) -> None:
    lines = list(commands(page))
    assert len(lines) >= len(OPTIONS)
    for line in lines:
        program, command, *overrides = shlex.split(line, comments=True)
        assert program == "bvrank"
        points = [re.sub(r"=([^\[]*?),.*", r"=\1", o) for o in overrides if o != "-m"]
        composed(command, points if "-m" in overrides else overrides)  # a sweep's first point


def test_links_lead_somewhere(page: str, made: dict[str, str]) -> None:
    assert "{{" not in page and not PATHS.search(page)
    headings = set(re.findall(r"^### (\w+)$", page, re.MULTILINE))
    assert set(re.findall(r"\]\(#(\w+)\)", page)) <= headings
    assert set(re.findall(r'src="(.*?)"', page)) == set(pictures(made))


def test_pictures_are_sound(made: dict[str, str]) -> None:
    for path, text in pictures(made).items():
        assert len(text.encode()) < LARGEST, path
        assert not re.search(r"\b(nan|inf)\b", text, re.IGNORECASE), path
        root = ElementTree.fromstring(text)
        lines = [e.attrib for e in root.iter() if "line" in e.get("class", "").split()]
        looks = {a["class"] for a in lines if len(a["d"]) > 99}
        assert looks and len(looks) == sum(len(a["d"]) > 99 for a in lines), path
        for curve in (a["d"] for a in lines if len(a["d"]) > 99):
            assert curve.count("M") == 1, path  # no gap
