from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from bvrank.data.converters.letor import LETOR
from bvrank.data.lines import read_lines
from bvrank.errors import ConfigError, DataError
from tests.data.converters.raw import letor, made, real


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "vali.txt"
    path.write_text("\n".join([*letor(7, [0, 2, 1]), "# a note", "", *letor(8, [0, 0])]))
    return path


def test_documents_are_texts_of_their_features(file: Path) -> None:
    kept, refused = made(LETOR(), path=file)
    assert kept == [
        {
            "prompt": "Query 7",
            "candidates": ["D7-0 f3:1", "D7-1 f1:0.125 f3:1", "D7-2 f1:0.25 f3:1"],
            "relevance": [0, 2, 1],
            "group": "7",
        }
    ]
    assert [(r.where, r.reason) for r in refused] == [("vali.txt:6", "no_truth")]


def test_what_a_document_looks_like(file: Path) -> None:
    some = LETOR("{query}", document="<{features}>", feature="{value}", features=(1, 2), zeros=True)
    kept, _ = made(some, path=file)
    assert kept[0]["candidates"] == ["<0 0>", "<0.125 0>", "<0.25 0>"]


def test_documents_that_look_the_same_are_one_graded_as_the_best_is(file: Path) -> None:
    kept, _ = made(LETOR(document="{features}", features=(1,)), path=file)
    file.write_text("\n".join(f"{g} qid:1 1:0.5" for g in (0, 2, 1)) + "\n0 qid:1 1:0.25\n")
    kept, _ = made(LETOR(document="{features}"), path=file)
    assert (kept[0]["candidates"], kept[0]["relevance"]) == (["f1:0.5", "f1:0.25"], [2, 0])


def test_rows_of_a_query_need_not_stand_together(file: Path) -> None:
    lines = [*letor(7, [1, 0]), *letor(8, [1, 0])]
    file.write_text("\n".join(lines[i] for i in (0, 2, 1, 3)))
    together = made(LETOR(), path=file)
    file.write_text("\n".join(lines))
    assert [r["candidates"] for r in together[0]] == [
        r["candidates"] for r in made(LETOR(), path=file)[0]
    ]


@pytest.mark.parametrize("seed", range(9))
def test_a_query_is_one_list_wherever_its_documents_stand(file: Path, seed: int) -> None:
    lines = [line for q in range(6) for line in letor(q, [2, 0, 1, 0])]
    Random(seed).shuffle(lines)
    file.write_text("# qid:1 note\n" + "\n".join(lines))
    found = [row for _, row in LETOR().read(file)]
    assert sorted(row["query"] for row in found) == [*"012345"]
    for row in found:
        own = [line for line in lines if f"qid:{row['query']} " in line]
        assert [docid for _, _, docid in row["documents"]] == [line.split()[7] for line in own]


def test_a_query_is_told_at_its_last_line(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that no more is held than queries that are not whole."""
    file.write_text("\n".join([*letor(7, [1, 0, 0]), *letor(8, [1, 0]), *letor(9, [1, 0])]))
    seen: list[str] = []

    def watched(path: Path) -> Iterator[tuple[str, str]]:
        seen.clear()
        for where, line in read_lines(path):
            seen.append(where)
            yield where, line

    monkeypatch.setattr("bvrank.data.converters.letor.read_lines", watched)
    told = [(where, len(seen)) for where, _ in LETOR().read(file)]
    assert told == [("vali.txt:1", 3), ("vali.txt:4", 5), ("vali.txt:6", 7)]


def test_a_file_that_grows_meanwhile_loses_nothing_silently(file: Path) -> None:
    file.write_text("\n".join([*letor(7, [1, 0]), *letor(8, [1] * 2000)]) + "\n")
    rows = LETOR().read(file)
    next(rows)
    with file.open("a") as grown:
        grown.write("\n".join(letor(7, [1])))
    with pytest.raises(DataError, match="changed while it was read"):
        list(rows)


@pytest.mark.parametrize("line", ["1 1:0.5", "x qid:1 1:0.5", "1 qid:1 1:x", "1 qid:1 1:1.2.3"])
def test_a_broken_line_is_told_with_its_place(file: Path, line: str) -> None:
    file.write_text("1 qid:1 1:0.5\n" + line)
    with pytest.raises(DataError, match=r"vali\.txt:2: is no libsvm row"):
        made(LETOR(), path=file)


def test_grades_below_zero_are_refused(file: Path) -> None:
    file.write_text("-1 qid:1 1:0.5\n1 qid:1 1:0.25\n")
    assert [r.reason for r in made(LETOR(), path=file)[1]] == ["relevance_range"]


@pytest.mark.parametrize("field", ["template", "document", "feature", "option"])
def test_templates_need_their_fields(field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        LETOR(**{field: "x"})  # type: ignore[arg-type]
    assert caught.value.where == field


def test_real_queries() -> None:
    """157 queries, 37 of them without a relevant document, of 6 to 118 documents."""
    path = real("ranking", "mq2008_fold1", "vali.txt.gz")
    kept, refused = made(LETOR(), path=path)
    assert (len(kept), [r.reason for r in refused]) == (120, ["no_truth"] * 37)
    grades = Counter(g for r in kept for g in r["relevance"])
    assert (grades[1], grades[2]) == (400, 167)
    assert max(len(r["candidates"]) for r in kept) == 118
    short, _ = made(LETOR(list_size=40), path=path)
    assert {len(r["candidates"]) for r in short if len(r["candidates"]) > 39} == {40}
