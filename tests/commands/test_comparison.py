"""`bvrank report compare=...`: which evaluations are of an arm, and what is shown."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bvrank.commands import comparison, evaluate, report
from bvrank.commands.compose import composed, frozen
from bvrank.errors import BvrankError, ConfigError, RunError
from bvrank.evaluation.result import Measured, Result, write_result


def evaluation(folder: Path, values: list[float], seed: int = 0, **more: Any) -> Path:
    folder.mkdir(parents=True)
    cells = {"thinking/avg@4": {f"p{i}": v for i, v in enumerate(values)},
             "thinking/tokens": {f"p{i}": 7.0 for i in range(len(values))}}  # fmt: skip
    told = {"task": "t", "version": 1, "step": 3, "model": "m", "settings": {"seed": seed} | more}
    write_result(folder, Measured(cells), told)
    return folder


def retold(folder: Path, **fields: Any) -> None:
    told = json.loads((folder / "result.json").read_text()) | fields
    (folder / "result.json").write_text(json.dumps(told))


def shown(*arms: str, more: Sequence[str] = ()) -> int:
    words = [f"compare=[{','.join(arms)}]", *more]
    return report.main(frozen(composed("report", words)))


def arm(pattern: str) -> dict[str, list[Result]]:
    return comparison.arm(pattern, comparison.found([pattern]), {})[0]


def test_better_and_worse_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = [0.01 * (i % 10) for i in range(40)]
    for name, shift in (("a", 0.0), ("b", 0.4), ("c", 0.0)):
        evaluation(tmp_path / name, [x + shift for x in base])
    assert shown(*(str(tmp_path / name) for name in "abc")) == 0
    said = capsys.readouterr().out
    for part in ("t thinking/avg@4", "0.4450", "+0.4000 [+0.2767, +0.4529]", "<0.0001", "40",
                 "note: t thinking/avg@4: the second is better",
                 "note: none of the 1 tested figures differs at 0.05, adjusted by Holm over 2 "
                 "tests"):  # fmt: skip
        assert part in said
    assert shown(str(tmp_path / "b"), str(tmp_path / "a")) == 0
    assert "the second is worse" in capsys.readouterr().out


def test_an_arm_is_a_folder_a_pattern_or_a_run_at_its_last_step(tmp_path: Path) -> None:
    run = tmp_path / "run"
    evaluation(run / "evals" / "t@000002-s0-aa", [0.0, 1.0])
    evaluation(run / "evals" / "t@000004-s0-bb", [1.0, 1.0])
    evaluation(run / "evals" / "t@000004-s1-cc", [1.0, 0.0], seed=1)
    (run / "evals" / "t@000009-s0-dd").mkdir()  # not finished
    found = arm(str(run))["t"]
    assert [r.figures["thinking/avg@4"].value for r in found] == [1.0, 0.5]
    assert len(arm(str(run / "evals" / "*s0-*"))["t"]) == 2
    assert len(arm(str(run / "evals" / "t@000002-s0-aa"))["t"]) == 1


def test_nothing_tested_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of one prompt there is no p: that is no test without a difference."""
    for name, value in (("a", 0.0), ("b", 1.0)):
        evaluation(tmp_path / name, [value])
    assert shown(str(tmp_path / "a"), str(tmp_path / "b")) == 0
    said = capsys.readouterr().out
    assert "note: nothing is tested" in said and "none of the" not in said


def test_what_force_moved_aside_is_of_no_arm(tmp_path: Path) -> None:
    """Neither of a run nor of a pattern, unless it is asked for."""
    for name, value in (("t@000004-s0-aa", 1.0), ("t@000004-s0-aa.old-1", 0.0)):
        evaluation(tmp_path / "run" / "evals" / name, [value, 1.0])
        evaluation(tmp_path / "alone" / name, [value, 1.0])
    evaluation(tmp_path / "run.old-1" / "evals" / "t@000004-s0-aa", [0.0, 1.0])
    for pattern in ("run", "run*", "run*/evals/*", "alone/*"):
        (found,) = arm(str(tmp_path / pattern))["t"]
        assert found.figures["thinking/avg@4"].value == 1.0
    (found,) = arm(str(tmp_path / "alone" / "*.old-*"))["t"]
    assert found.figures["thinking/avg@4"].value == 0.5
    with pytest.raises(RunError, match="no finished evaluation"):
        comparison.found([str(tmp_path / "run.*")])


def test_neither_is_better_where_the_figure_does_not_say(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor is a number of nats told in points."""
    for name, shift in (("a", 0.0), ("b", 3.0)):
        folder = tmp_path / name
        folder.mkdir()
        told = {"task": "t", "version": 1, "step": 1, "model": "m", "settings": {"seed": 0}}
        cells = {f"p{i}": 0.1 * (i % 7) + shift * (1 + i % 2) for i in range(40)}
        write_result(folder, Measured({"thinking/length": cells, "kl": cells}), told)
    assert shown(str(tmp_path / "a"), str(tmp_path / "b")) == 0
    said = capsys.readouterr().out
    assert "t thinking/length: the second is higher" in said and "t kl: the second is worse" in said
    line = next(x for x in said.splitlines() if x.strip().startswith("t kl"))
    assert line.split()[-1] == "40"  # prompts, and none for a point


def test_runs_that_scatter_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, shift in (("a", 0.0), ("b", 0.3)):
        for seed in range(3):
            values = [0.05 * (i % 3) + shift * seed + 0.01 * (i % 2) * seed for i in range(40)]
            retold(evaluation(tmp_path / name / f"s{seed}", values, seed), policy=f"p{seed}")
    assert shown(str(tmp_path / "a" / "*"), str(tmp_path / "b" / "*")) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "100 % of the variance is between runs; more runs lower it, more prompts do not" in said


def test_the_last_step_is_the_largest_number(tmp_path: Path) -> None:
    for step in (999_999, 1_000_000, 2_000_000, 2_000_001):
        folder = tmp_path / "run" / "evals" / f"t@{step:06d}-s0-aa"
        evaluation(folder, [float(step == 2_000_001), 1.0])
    (found,) = arm(str(tmp_path / "run"))["t"]
    assert found.figures["thinking/avg@4"].value == 1.0


def ranking(place: Path, name: str, *more: str) -> None:
    """A run of TREC's form, scored by `bvrank evaluate`."""
    words = ("task=ranking_run", f"outputs={place / name}", f"task.run_file={place / 'run.txt'}",
             f"task.qrels={place / 'qrels.txt'}", "task.measures=[mrr]", *more)  # fmt: skip
    assert evaluate.main(frozen(composed("evaluate", words))) == 0


@pytest.fixture
def rankings(tmp_path: Path) -> Path:
    pytest.importorskip("ir_measures")
    files = {
        "run": "q1 Q0 a 1 2.0 x\nq1 Q0 b 2 1.0 x\nq2 Q0 a 1 1.0 x\n",
        "seed": "q1 Q0 b 1 2.0 x\nq1 Q0 a 2 1.0 x\nq2 Q0 a 1 1.0 x\n",
        "qrels": "q1 0 b 1\nq2 0 a 0\n",
        "other": "q1 0 a 1\nq2 0 a 1\n",
    }
    for name, text in files.items():
        (tmp_path / f"{name}.txt").write_text(text)
    return tmp_path


def test_another_truth_is_neither_a_seed_nor_another_arm(rankings: Path) -> None:
    ranking(rankings, "A")
    ranking(rankings, "B", f"task.qrels={rankings / 'other.txt'}")
    with pytest.raises(RunError, match=r"ranking_run was measured on other data: task.qrels"):
        shown(str(rankings / "A" / "*"), str(rankings / "B" / "*"))
    ranking(rankings, "A", f"task.qrels={rankings / 'other.txt'}")
    with pytest.raises(RunError, match=r"in several ways: data.task.qrels is \w{16} and \w{16}"):
        arm(str(rankings / "A" / "*"))


def test_another_way_to_measure_is_told(rankings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ranking(rankings, "A")
    ranking(rankings, "B", "task.no_relevant=skip")
    (rankings / "qrels.txt").write_text("q1 0 b 1\nq2 0 a 1\n")  # with it, none is left out
    for name, more in (("A", ()), ("B", ("task.no_relevant=skip",))):
        ranking(rankings, name, *more, f"task.run_file={rankings / 'seed.txt'}")
    newest = [str(max((rankings / n).iterdir(), key=lambda p: p.stat().st_mtime)) for n in "AB"]
    assert shown(*newest) == 0
    said = capsys.readouterr().out
    assert "note: ranking_run: task.no_relevant is zero there and skip here" in said


def test_the_rankings_of_two_seeds_are_runs_of_one_arm(rankings: Path) -> None:
    ranking(rankings, "A")
    ranking(rankings, "A", f"task.run_file={rankings / 'seed.txt'}")
    found = arm(str(rankings / "A" / "*"))["ranking_run"]
    assert len({r.policy for r in found}) == 2


def test_evaluating_again_by_a_newer_version_is_the_repair_of_older_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As runs and as patterns: the older folder stays beside the new one."""
    evals = {name: tmp_path / name / "evals" for name in "ab"}
    retold(evaluation(evals["a"] / "t@000003-s0-old", [0.0] * 40), version=2)
    retold(
        evaluation(evals["b"] / "t@000003-s0-new", [0.1 * (i % 5) for i in range(40)]), version=3
    )
    with pytest.raises(RunError, match=r"versions 2 and 3. Evaluate again .* older") as stop:
        shown(*(str(tmp_path / name) for name in "ab"))
    assert "force" not in (stop.value.repair or "")
    retold(
        evaluation(evals["a"] / "t@000003-s0-new", [0.1 * (i % 5) for i in range(40)]), version=3
    )
    for arms in ([tmp_path / "a", tmp_path / "b"], [evals["a"] / "*", evals["b"] / "*"]):
        assert shown(*map(str, arms)) == 0
        said = " ".join(capsys.readouterr().out.split())
        assert "+0.0000 [" in said and f"measured the same ({arms[0]})" in said
        assert "note: t: 1 evaluation of version 2 left out: a newer version" in said


def test_one_arm_is_measured_in_one_way(tmp_path: Path) -> None:
    evaluation(tmp_path / "a", [0.0, 1.0])
    evaluation(tmp_path / "b", [0.0, 1.0], n=8)
    with pytest.raises(RunError, match=r"t was measured in several ways: n is .absent. and 8"):
        arm(str(tmp_path / "*"))


def test_a_setting_chooses_one_way_of_both_arms(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "ab":
        for n in (4, 8):
            values = [0.1 * (i % 5) + 0.05 * n * (name == "b") for i in range(40)]
            evaluation(tmp_path / name / "evals" / f"t@3-s0-{n}", values, n=n)
    arms = (str(tmp_path / "a"), str(tmp_path / "b"))
    for n in (4, 8):
        for words in ([f"where.n={n}"], [f"where={{n:{n}}}"]):
            assert shown(*arms, more=words) == 0
            assert f"+{0.05 * n:.4f} [" in capsys.readouterr().out
    with pytest.raises(RunError, match=r"no evaluation has n=16: n is 4 and 8") as stop:
        shown(*arms, more=["where.n=16"])
    assert stop.value.exit_code == 2
    with pytest.raises(ConfigError, match=r"where.m: no evaluation here .* Known: n, seed\."):
        shown(*arms, more=["where.m=4"])


def test_tasks_of_several_ways_are_compared_in_one_call(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = [0.1 * (i % 5) for i in range(40)]
    for name in "ab":
        for task, key in (("t", "x"), ("u", "y"), ("v", "x")):
            for way in (1, 2) if task != "v" else (2,):
                folder = tmp_path / name / "evals" / f"{task}@3-s0-{way}"
                retold(evaluation(folder, values, task={key: way}), task=task)
    arms = [str(tmp_path / name) for name in "ab"]
    assert shown(*arms, more=["where.task.x=1", "where.task.y=2"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "t thinking/avg@4" in said and "u thinking/avg@4" in said
    for arm_ in arms:
        assert f"note: v: left out, as no evaluation has task.x=1 ({arm_})" in said


def test_the_words_of_an_error_choose_what_it_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "ab":
        for way in ("likelihood.inlist", "generate"):
            folder = tmp_path / name / "evals" / f"t@3-s0-{way}"
            evaluation(folder, [0.1 * (i % 5) for i in range(40)], task={"decoder": way})
    arms = [str(tmp_path / name) for name in "ab"]
    with pytest.raises(RunError, match=r"several ways: task.decoder") as stop:
        shown(*arms)
    words = re.findall(r"(where\S+) \((\S+)\)", stop.value.repair)
    assert [w for w, _ in words] == [
        "where.task.decoder=generate",
        "where.task.decoder=likelihood.inlist",
    ]
    assert all(Path(folder).is_dir() for _, folder in words)
    for word, _ in words:
        assert shown(*arms, more=[word]) == 0
    capsys.readouterr()


def test_runs_are_paired_by_seed_in_whatever_order_they_are_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, shift in (("a", 0.0), ("b", 0.1)):
        for seed in (0, 1, 10):
            run, noise = tmp_path / f"{name}{seed}", 0.001 * ("ab".index(name) + 1)
            base = [0.02 * seed + shift + noise * ((i * (seed + 3)) % 7) for i in range(40)]
            retold(evaluation(run / "evals" / "t@000003-s0-x", base), policy=run.name)
            (run / "config.yaml").write_text(f"seed: {seed}\n")
    told = []
    for order in ("0 1 10", "10 0 1"):
        arms = [f"[{','.join(str(tmp_path / f'{n}{s}') for s in order.split())}]" for n in "ab"]
        assert shown(arms[0], f"{tmp_path}/b*") == 0
        (line,) = (x for x in capsys.readouterr().out.splitlines() if x.startswith(" t thinking/a"))
        told.append(line.split())
    assert told[0] == told[1] and float(told[0][4].strip("[,")) > 0.09


def test_an_arm_may_be_a_list_of_folders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = [0.01 * (i % 10) for i in range(40)]
    for name, shift in (("a", 0.0), ("b", 0.0), ("c", 0.4)):
        retold(evaluation(tmp_path / name, [x + shift for x in base]), policy=name)
    a, b, c = (str(tmp_path / name) for name in "abc")
    assert shown(f"[{a},{b}]", f"[{c}]") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "+0.4000 [" in said and "2 policies against 1, which do not pair" in said
    assert len(comparison.found([a, a, str(tmp_path / "*")])) == 3  # each folder once


@pytest.mark.parametrize(
    "arms", ["[[], b]", "[a, [[b]]]", "[a, {b: 1}]", "[a, 3]", "[a, '']", "[[a, b]]", "a"]
)
def test_an_arm_that_is_none_is_told(arms: str) -> None:
    with pytest.raises(ConfigError, match=r"^compare: .* As in compare=\[outputs/a,outputs/b\]"):
        report.main(frozen(composed("report", [f"compare={arms}"])))


@pytest.mark.parametrize("words", [("where.n=4",), ("where=3", "compare=[a,b]"), ("where=0",)])
def test_where_without_a_meaning_is_refused(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        evaluation(tmp_path / name, [0.0, 1.0])
    with pytest.raises(ConfigError, match=r"^where: (has no effect without compare|must be)"):
        report.main(frozen(composed("report", words)))


@pytest.mark.parametrize("arms", [(), ("a",), ("nowhere", "nowhere")])
def test_what_is_no_comparison(arms: tuple[str, ...]) -> None:
    with pytest.raises(BvrankError, match=r"two arms or more|no finished evaluation") as stop:
        shown(*arms)
    assert stop.value.exit_code == 2
