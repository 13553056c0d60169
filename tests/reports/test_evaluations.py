"""What `bvrank evaluate` found stands in the report: by task, mode and figure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bvrank.evaluation.result import Measured, write_result
from bvrank.reports.collect import collect
from bvrank.reports.evaluations import evaluated, evaluations, tasks
from bvrank.reports.page import page
from bvrank.reports.rows import rows_of
from bvrank.reports.spread import spread
from bvrank.reports.tables import tables
from bvrank.statistics import estimate


def measure(run: Path, name: str, values: list[float], *, step: int = 40, seed: int = 0,
            version: int = 1, **settings: Any) -> None:  # fmt: skip
    """An evaluation of two figures, as the command writes it."""
    folder = run / "evals" / name
    folder.mkdir(parents=True)
    cells = {f"q{n}": value for n, value in enumerate(values)}
    lengths = {key: 10.0 for key in cells}
    measured = Measured({"thinking/avg@1": cells, "thinking/tokens": lengths})
    told = {"task": "gsm8k", "version": version, "step": step, "model": run.name,
            "settings": {"seed": seed, **settings}}  # fmt: skip
    write_result(folder, measured, told)


def table_of(records: Any) -> Any:
    (table,) = [t for t in tables(records) if t.heading == "Evaluation: gsm8k"]
    return table


def test_one_run_has_its_interval_over_prompts(make_run: Any, tmp_path: Path) -> None:
    values = [1.0, 0.0, 1.0, 1.0] * 20
    measure(make_run(0), "a", values)
    (record,) = collect(str(tmp_path / "outputs"))
    found = evaluated([record])
    figure = found["evals/gsm8k/thinking/avg@1, %"]
    assert figure.mean == 75.0 and figure.own is not None
    assert 60 < figure.own[0] < 75 < figure.own[1] < 90
    assert found["evals/gsm8k/thinking/tokens"].mean == 10.0
    table = table_of([record])
    heads, (line,) = table.header(), table.body()
    told = line[heads.index("avg@1, %")]
    assert told == f"75.0 [{figure.own[0]:.1f}, {figure.own[1]:.1f}]"
    assert line[heads.index("mode")] == "Thinking" and told in page([record], tables([record]))
    assert line[heads.index("interval over") :] == ["prompts", "80", "1, seed 0", "1", "0"]


def test_seeds_of_an_evaluation_are_averaged_by_prompt_with_the_interval_of_evaluate(
    make_run: Any, tmp_path: Path
) -> None:
    """Equal to one evaluation whose cells are the means, whatever the order of its prompts; and
    the seeds lessen the scatter of prompts, as no single one of them shows it."""
    run, draw = make_run(0), np.random.default_rng(0)
    draws = (draw.random((3, 60)) < 0.5).astype(float)
    for seed, values in enumerate(draws):
        measure(run, "abc"[seed], list(values), seed=seed)
    (record,) = collect(str(tmp_path / "outputs"))
    figure = evaluated([record])["evals/gsm8k/thinking/avg@1, %"]
    wanted = estimate(draws.mean(0), bounds=(0.0, 1.0))
    assert figure.mean == pytest.approx(100 * wanted.value)
    assert figure.own == pytest.approx([100 * v for v in wanted.interval])
    table = table_of([record])
    heads, (line,) = table.header(), table.body()
    assert line[heads.index("interval over") :] == ["prompts", "60", "3, seeds 0-2", "1", "0"]
    assert "[" in line[heads.index("avg@1, %")] and "prompt by prompt" in table.notes[0]
    told = page([record], tables([record]))
    assert "3, seeds 0-2" in told and "prompt by prompt" in told


def test_what_force_moved_aside_is_no_evaluation(make_run: Any, tmp_path: Path) -> None:
    run = make_run(0)
    measure(run, "t-aa", [1.0, 1.0])
    measure(run, "t-aa.old-1", [0.0, 0.0])
    (record,) = collect(str(tmp_path / "outputs"))
    assert evaluated([record])["evals/gsm8k/thinking/avg@1, %"].mean == 100.0
    aside = evaluations(run / "evals" / "t-aa.old-1")  # as it is asked for
    assert [r.figures["thinking/avg@1"].value for r in aside] == [0.0]


def test_several_runs_have_the_interval_over_runs_their_own_seeds_averaged(
    make_run: Any, tmp_path: Path
) -> None:
    one, two = make_run(0), make_run(1)
    measure(one, "a", [1.0, 0.0])
    measure(one, "b", [1.0, 1.0], seed=1)
    measure(two, "a", [0.0, 0.5])
    records = collect(str(tmp_path / "outputs"))
    assert evaluated(records[:1])["evals/gsm8k/thinking/avg@1, %"].mean == 75.0
    table = table_of(records)
    heads, (line,) = table.header(), table.body(sd=False)
    half = spread([75.0, 25.0]).half
    assert line[heads.index("avg@1, %")] == f"50.0 ± {half:.1f}"
    over = ["runs", "2", "1 to 2, seeds 0-1", "2", "0-1"]
    assert line[heads.index("interval over") :] == over


def test_seeds_of_one_model_are_no_runs(make_run: Any, tmp_path: Path) -> None:
    """Folders of evaluations alone, of one policy: its seeds say nothing of another training."""
    for seed, values in enumerate(([1.0, 0.0, 1.0], [1.0, 1.0, 0.0])):
        run = make_run(seed, views=(), gain=None)
        measure(run, "a", values, seed=seed)
        result = run / "evals" / "a" / "result.json"
        told = json.loads(result.read_text()) | {"policy": "the same"}
        (run / "result.json").write_text(json.dumps(told))
        result.unlink()
    table = table_of(collect(str(tmp_path / "outputs")))
    heads, (line,) = table.header(), table.body(sd=False)
    assert line[heads.index("interval over") :] == ["prompts", "3", "2, seeds 0-1", "1", "0-1"]
    assert line[heads.index("avg@1, %")].startswith("66.7 [")


def test_a_figure_of_one_run_among_several_says_so(make_run: Any, tmp_path: Path) -> None:
    one, two = make_run(0), make_run(1)
    measure(one, "a", [1.0, 0.0, 1.0])
    measure(two, "a", [0.0, 0.5])
    told = json.loads((two / "evals" / "a" / "result.json").read_text())
    del told["figures"]["thinking/tokens"]
    (two / "evals" / "a" / "result.json").write_text(json.dumps(told))
    table = table_of(collect(str(tmp_path / "outputs")))
    (line,) = table.body(sd=False)
    at = table.header().index("interval over")
    assert line[at : at + 4] == ["runs and prompts", "2 to 3", "1, seed 0", "1 to 2"]


def test_steps_and_settings_are_told_apart(make_run: Any, tmp_path: Path) -> None:
    run = make_run(0)
    measure(run, "a", [1.0, 0.0], n=4)
    measure(run, "b", [1.0, 0.0], step=20, n=4)
    measure(run, "c", [1.0, 1.0], n=8)
    (record,) = collect(str(tmp_path / "outputs"))
    assert set(tasks([*evaluated([record])])) == {
        "gsm8k, step 40, n 4", "gsm8k, step 20, n 4", "gsm8k, step 40, n 8",
    }  # fmt: skip


def test_the_newest_version_of_a_task_counts(make_run: Any, tmp_path: Path) -> None:
    """Of what was measured in one way; the rest stands by itself, and what is left out is told."""
    run = make_run(0)
    measure(run, "old", [0.0, 0.0], version=2, n=4)
    measure(run, "old-1", [0.0, 0.0], version=2, n=4, seed=1)
    measure(run, "new", [1.0, 0.0], version=3, n=4)
    records = collect(str(tmp_path / "outputs"))
    assert evaluated(records)["evals/gsm8k/thinking/avg@1, %"].mean == 50.0
    (note,) = rows_of(records)[1]
    assert note == (f"{run.name}: gsm8k: 2 evaluations of version 2 left out: a newer version "
                    "measured the same.")  # fmt: skip
    measure(run, "way", [0.0, 1.0], version=2, n=8)
    assert set(tasks([*evaluated(records)])) == {
        "gsm8k, version 3, n 4", "gsm8k, version 2, n 8"
    }  # fmt: skip


def test_what_drew_nothing_is_one_table_however_it_is_told(make_run: Any, tmp_path: Path) -> None:
    """Older results keep sampler, modes and n of every task."""
    task = {"task": {"decoder": "inlist"}, "data": {}}
    for seed, more in enumerate(({}, {"modes": ["thinking"], "n": 4}, {"modes": ["a"]})):
        measure(make_run(seed), "a", [1.0, 0.0], **task, **more)
    assert table_of(collect(str(tmp_path / "outputs"))).body(sd=False)[0][-2:] == ["3", "0-2"]


def test_one_policy_at_two_addresses_is_told(make_run: Any, tmp_path: Path) -> None:
    run = make_run(0)
    for seed, name in enumerate("ab"):
        server = {"base_url": f"http://{name}"}
        measure(run, name, [1.0, 0.0], seed=seed, sampler={"server": server})
    records = collect(str(tmp_path / "outputs"))
    assert rows_of(records)[1] == [
        f"{run.name}: gsm8k: answered at 2 addresses (http://a, http://b), taken for one policy."
    ]
    assert len(tasks([*evaluated(records)])) == 1


def test_versions_of_two_runs_are_never_averaged(make_run: Any, tmp_path: Path) -> None:
    for seed, value in enumerate((0.0, 1.0)):
        measure(make_run(seed), "a", [value, value], version=2 + seed)
    found = evaluated(collect(str(tmp_path / "outputs")))
    name = "evals/gsm8k, version {}/thinking/avg@1, %"
    assert [found[name.format(v)].mean for v in (2, 3)] == [0.0, 100.0]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"figures": 3}', '{"figures": {"a": {}}}',
                                  '{"figures": {"a": {"value": 1e999}}}'])  # fmt: skip
def test_what_cannot_be_read_is_left_out(make_run: Any, tmp_path: Path, text: str) -> None:
    run = make_run(0)
    measure(run, "a", [1.0, 0.0])
    (run / "evals" / "b").mkdir()
    (run / "evals" / "b" / "result.json").write_text(text)
    assert len(list(evaluations(run))) == 1


def test_a_folder_of_an_evaluation_alone_is_told_too(make_run: Any, tmp_path: Path) -> None:
    """Of a model that is no run: its result lies in the folder itself."""
    run = make_run(0, views=(), gain=None)
    measure(run, "a", [1.0, 0.0])
    result = json.loads((run / "evals" / "a" / "result.json").read_text())
    (run / "result.json").write_text(json.dumps(result | {"task": "other/one"}))
    (record,) = collect(str(tmp_path / "outputs"))
    assert set(tasks([*evaluated([record])])) == {"gsm8k", "other one"}


def test_a_run_that_was_never_evaluated_has_no_table(make_run: Any, tmp_path: Path) -> None:
    make_run(0)
    assert not [t for t in tables(collect(str(tmp_path / "outputs"))) if "Eval" in t.heading]


def test_a_task_that_was_configured_otherwise_is_another(make_run: Any, tmp_path: Path) -> None:
    """By what differs; an old result tells nothing of it, and a moved file is the same one."""
    run = make_run(0)
    old = {"decoder": "inlist", "path": "a"}
    for name, path, value in (("a", "a", "h"), ("b", "b", "h"), ("c", "a", "other")):
        measure(run, name, [1.0, 0.0], task={**old, "path": path}, data={"task.path": value})
    measure(run, "d", [1.0, 0.0], task={**old, "decoder": "inde"}, data={"task.path": "h"})
    measure(run, "e", [1.0, 1.0])
    (record,) = collect(str(tmp_path / "outputs"))
    assert set(tasks([*evaluated([record])])) == {
        "gsm8k, path h, decoder inlist", "gsm8k, path other, decoder inlist",
        "gsm8k, path h, decoder inde", "gsm8k, settings not recorded",
    }  # fmt: skip


def test_one_way_to_measure_has_one_table_whatever_else_was_measured(
    make_run: Any, tmp_path: Path
) -> None:
    one, two = make_run(0), make_run(1)
    measure(one, "a", [1.0, 0.0], limit=20)
    measure(two, "a", [1.0, 1.0], limit=20)
    measure(two, "b", [0.0, 0.0], limit=40)
    records = collect(str(tmp_path / "outputs"))
    told = [t for t in tables(records) if t.heading.startswith("Evaluation")]
    assert [t.heading for t in told] == [
        "Evaluation: gsm8k, limit 20",
        "Evaluation: gsm8k, limit 40",
    ]
    (line,) = told[0].body(sd=False)
    assert line[told[0].header().index("runs")] == "2"
