import math

import pytest

from bvrank.objectives.bvpo import BVPO as BVPOObjective
from bvrank.objectives.dpo import DPO as DPOObjective
from bvrank.reports.collect import collect
from bvrank.reports.rows import FEW_KEYS, rows_of
from tests.reports.runs import COMMON, DPO

BVPO = COMMON["objective"]


@pytest.fixture
def records(tmp_path):
    return lambda: collect(str(tmp_path / "outputs"))


def rows(records):
    return rows_of(records())[0]


def test_seeds_are_pooled(make_run, records):
    for seed, gain in enumerate((0.1, 0.2, 0.3)):
        make_run(seed, gain=gain)
    (row,) = rows(records)
    assert (row.name, row.n, row.seeds, row.keys) == ("bvpo-arithmetic", 3, "0-2", {})
    gain = row.figures["accuracy/thinking/avg@4/gain"]
    assert gain.mean == pytest.approx(0.2)
    assert gain.std == pytest.approx(0.1)
    assert gain.half == pytest.approx(4.302653 * 0.1 / math.sqrt(3), abs=1e-6)


def test_only_keys_that_differ_are_columns(make_run, records):
    for alpha in (1.0, 0.5, 10):
        make_run(0, objective={**BVPO, "alpha": alpha}, checkpoint={"every": 5 * alpha})
    keys = [row.keys for row in rows(records)]
    assert keys == [{"objective.alpha": a} for a in ("0.5", "1", "10")]  # by size, not by spelling


def test_keys_that_come_with_another_objective_are_no_columns(make_run, records):
    make_run(0)
    make_run(0, objective=DPO, views=("full",))
    found = rows(records)
    assert sorted(r.name for r in found) == ["bvpo-arithmetic", "dpo-arithmetic"]
    assert all(r.keys == {} for r in found)


def test_what_stands_inside_an_objective_is_told_by_its_name(make_run, records):
    dpo = {"_target_": "bvrank.objectives.dpo.DPO", "beta": 0.1, "label_smoothing": 0.0}
    simpo = {"_target_": "bvrank.objectives.simpo.SimPO", "beta": 0.1, "gamma": 1.0}
    for loss in (dpo, simpo):
        make_run(0, objective={**BVPO, "loss": loss})
    assert [row.keys for row in rows(records)] == [{"objective.loss": n} for n in ("dpo", "simpo")]
    assert [row.settings for row in rows(records)] == [["loss=dpo"], ["loss=simpo"]]


def test_a_key_that_is_there_or_not_is_a_column(make_run, records):
    make_run(0)
    make_run(0, schedule={"alpha": [1, 0]})
    assert sorted(r.keys["schedule.alpha"] for r in rows(records)) == ["-", "[1, 0]"]


def test_unfinished_runs_are_rows_of_their_own(make_run, records):
    make_run(0)
    make_run(1, stop=7)
    (done, failed), notes = rows_of(records())
    assert (done.n, done.seeds, done.status) == (1, "0", "finished")
    assert (failed.n, failed.seeds, failed.figures) == (0, "1", {})
    assert failed.status == "failed at step 7"
    assert notes == [
        f"{failed.runs[0].name}: failed at step 7: RuntimeError: out of <memory> | at `row` 7."
    ]
    assert failed.title.endswith("s1 (failed)")


def test_a_killed_run_is_told(make_run, records):
    path = make_run(0, stop=2) / "manifest.json"
    path.write_text(path.read_text().replace('"failed"', '"running"'))
    (path.parent / "lock").unlink()
    assert rows(records)[0].status == "killed at step 2"


def test_the_same_seed_twice_counts_once_and_is_told(make_run, records):
    make_run(0)
    make_run(0, name="again")
    found, notes = rows_of(records())
    assert [r.n for r in found] == [1]
    assert any("same seed" in note for note in notes)


def test_a_run_without_a_config_is_like_no_other(make_run, records):
    for seed in (0, 1):
        (make_run(seed) / "config.yaml").unlink()
    found, notes = rows_of(records())
    assert [r.n for r in found] == [1, 1]
    assert sum("config.yaml is missing" in note for note in notes) == 2


@pytest.mark.parametrize(
    ("seeds", "text"), [([0, 1, 2, 5, 7, 8], "0-2, 5, 7-8"), ([3], "3"), ([10, 9], "9-10")]
)
def test_seeds_as_ranges(make_run, records, seeds, text):
    for seed in seeds:
        make_run(seed)
    assert rows(records)[0].seeds == text


def test_few_settings_are_all_told_of_many_only_what_parts_namesakes(make_run, records):
    make_run(0, batch=4)
    make_run(0, batch=8)
    assert [r.settings for r in rows(records)] == [["batch=4"], ["batch=8"]]
    other = {f"k{n}": n for n in range(FEW_KEYS)}
    make_run(0, objective=DPO, views=("full",), gain=None, **other)
    found = rows(records)
    assert [r.title for r in found] == [
        "bvpo-arithmetic batch=4", "bvpo-arithmetic batch=8", "dpo-arithmetic",
    ]  # fmt: skip
    assert all(set(r.keys) == {"batch", *other} for r in found)


def test_settings_with_one_ending_are_told_whole(make_run, records):
    for every in (0, 5):
        make_run(0, eval={"every": every}, note={"every": every + 1})
    assert rows(records)[0].settings == ["eval.every=0", "note.every=1"]


def test_the_objective_of_a_row(make_run, records):
    (make_run(0) / "config.yaml").unlink()
    make_run(1)
    assert sorted(r.objective for r in rows(records)) == ["", "bvpo"]


@pytest.mark.parametrize(
    ("beta", "bare", "own"), [(None, None, 0.1), (0.3, None, 0.1), (None, 0.7, 0.2), (0.3, 0.7, 2)]
)
def test_a_mix_shows_the_betas_it_trains_with(make_run, records, beta, bare, own):
    """Those of the objective itself, under one name, beside that of any other."""
    loss = {"_target_": "bvrank.objectives.dpo.DPO", "beta": own}
    make_run(0, objective={**BVPO, "beta": beta, "bare_beta": bare, "loss": loss})
    make_run(0, objective={**DPO, "beta": 9.0}, views=("full",))
    found = BVPOObjective(beta=beta, bare_beta=bare, loss=DPOObjective(beta=own))
    (mix, _) = rows(records)
    told = {k: float(v) for k, v in mix.keys.items()}
    wanted = {"objective.beta": found.on("full").beta}
    if bare is not None:
        wanted["objective.bare_beta"] = found.on("bare").beta
    assert told == wanted or told | {"objective.bare_beta": bare} == wanted


def test_betas_of_both_views_are_told_where_they_differ_and_else_once(make_run, records):
    loss = {"_target_": "bvrank.objectives.dpo.DPO", "beta": 0.1}
    for beta, bare in ((None, None), (0.3, None)):
        make_run(0, objective={**BVPO, "beta": beta, "bare_beta": bare, "loss": loss})
    assert [row.keys for row in rows(records)] == [{"objective.beta": b} for b in ("0.1", "0.3")]
    make_run(0, objective={**BVPO, "beta": None, "bare_beta": 0.7, "loss": loss})
    keys = [(row.keys["objective.beta"], row.keys["objective.bare_beta"]) for row in rows(records)]
    assert sorted(keys) == [("0.1", "0.1"), ("0.1", "0.7"), ("0.3", "0.3")]


def test_one_beta_under_either_key_is_one_configuration(make_run, records):
    loss = {"_target_": "bvrank.objectives.dpo.DPO", "beta": 0.3}
    make_run(0, objective={**BVPO, "beta": None, "loss": loss})
    make_run(1, objective={**BVPO, "beta": 0.3, "loss": {**loss, "beta": 0.1}})
    (row,) = rows(records)
    assert (row.n, row.keys) == (2, {})


def test_a_mix_of_what_has_no_beta_shows_none(make_run, records):
    loss = {"_target_": "mylab.losses.Mine", "weight": 1.0}
    make_run(0, objective={**BVPO, "beta": None, "bare_beta": None, "loss": loss})
    make_run(0, objective={**BVPO, "beta": None, "loss": {**loss, "weight": 2.0}})
    assert [row.keys for row in rows(records)] == [{"objective.loss.weight": w} for w in "12"]


def test_a_key_that_is_null_wherever_it_is_there_is_no_column(make_run, records):
    """As of an older version, which did not have it: the seeds of both are of one configuration."""
    make_run(0)
    make_run(1, more=None)
    (row,) = rows(records)
    assert (row.n, row.keys) == (2, {})
    make_run(0, more=3)
    assert [r.keys for r in rows(records)] == [{"more": "3"}, {"more": "-"}]
