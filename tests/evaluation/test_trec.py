"""Runs of TREC's form, as trec_eval scores them."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from bvrank.errors import ConfigError, DataError

pytest.importorskip("ir_measures")

from bvrank.evaluation.desk import Desk
from bvrank.evaluation.result import Measured
from bvrank.evaluation.trec import Run

QRELS = "q1 0 a 2\nq1 0 b 0\nq2 0 a 0\nq3 0 a 1\n"
RUN = "q1 Q0 b 9 1.0 me\nq1 Q0 a 1 0.5 me\nq2 Q0 a 1 3 me\nq4 Q0 a 1 3 me\n"
REAL = Path(os.environ.get("BVRANK_REAL_DATA", "/nonexistent"))


def measured(folder: Path, run: str = RUN, qrels: str = QRELS, how: str = "zero",
             limit: int | None = None) -> Measured:  # fmt: skip
    (folder / "run").write_text(run)
    (folder / "qrels").write_text(qrels)
    task = Run("t", str(folder / "run"), str(folder / "qrels"), ["mrr", "p@1"], how)  # type: ignore[arg-type]
    return task.measure(Desk(folder, ("thinking",), 0, None, limit=limit))


def test_the_scores_decide_and_what_is_in_one_file_alone_is_told(tmp_path: Path) -> None:
    found = measured(tmp_path)
    assert found.cells == {"mrr": {"q1": 0.5, "q2": 0.0}, "p@1": {"q1": 0.0, "q2": 0.0}}
    assert found.counts == {"judged_alone": 1, "ranked_alone": 1, "no_relevant": 1}
    assert found.notes[2] == "1 queries without a relevant document count 0"
    assert list(found.samples) == [{"key": "q1", "mrr": 0.5, "p@1": 0.0},
                                   {"key": "q2", "mrr": 0.0, "p@1": 0.0}]  # fmt: skip


def test_queries_without_relevant_documents_can_be_skipped(tmp_path: Path) -> None:
    found = measured(tmp_path, how="skip")
    assert found.cells["mrr"] == {"q1": 0.5} and "are skipped" in found.notes[2]


def test_a_limit_takes_the_first_queries(tmp_path: Path) -> None:
    assert measured(tmp_path, limit=1).cells["mrr"] == {"q1": 0.5}


@pytest.mark.parametrize(
    ("run", "qrels", "said"),
    [("q1 Q0 a 1 0.5\n", QRELS, "run:1: has 5 columns, not 6"),
     ("q1 Q0 a 1 nan me\n", QRELS, "run:1: 'nan' is no number"),
     (RUN + "q1 Q0 a 2 0.1 me\n", QRELS, "run:5: names document a of query q1 a second time"),
     (RUN, "q1 0 a 1.5\n", "qrels:1: '1.5' is no number"), (RUN, "q9 0 a 1\n", "has no query of"),
     ("", QRELS, "run: holds no rows"), ("q2 Q0 a 1 3 me\n", "q2 0 a 0\n", None)],
)  # fmt: skip
def test_broken_files_are_told_by_line(
    run: str, qrels: str, said: str | None, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=said or "has no relevant document"):
        measured(tmp_path, run, qrels, "zero" if said else "skip")


def test_no_file_and_no_measure_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        Run("t", "nowhere", "nowhere", ["mrr"]).measure(Desk(tmp_path, ("thinking",), 0, None))
    with pytest.raises(ConfigError, match="is no measure"):
        Run("t", "a", "b", ["x"])


@pytest.mark.skipif(not REAL.is_dir(), reason="needs BVRANK_REAL_DATA")
@pytest.mark.parametrize("zipped", [False, True])
def test_what_trec_eval_published_is_what_is_found(zipped: bool, tmp_path: Path) -> None:
    """To the four decimals that it prints."""
    folder = REAL / "trec_eval"
    said = {}
    for line in (folder / "out.test.a").read_text().splitlines():
        name, _, value = line.split(None, 2)
        said[name] = value
    names = {"map": "map", "mrr": "recip_rank", "ndcg": "ndcg"}
    names |= {f"ndcg@{k}": f"ndcg_cut_{k}" for k in (5, 10, 100)}
    names |= {f"p@{k}": f"P_{k}" for k in (5, 10, 100)}
    names |= {f"recall@{k}": f"recall_{k}" for k in (5, 100, 1000)}
    run = folder / "results.test"
    if zipped:
        (tmp_path / "run.gz").write_bytes(gzip.compress(run.read_bytes()))
        run = tmp_path / "run.gz"
    task = Run("t", str(run), str(folder / "qrels.test"), [*names])
    cells = task.measure(Desk(tmp_path, ("thinking",), 0, None)).cells
    for name, theirs in names.items():
        mean = sum(cells[name].values()) / len(cells[name])
        assert f"{mean:.4f}" == said[theirs].strip(), name
