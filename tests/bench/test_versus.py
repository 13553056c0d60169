"""Which arms are run, that they train the same, and how passes make an arm."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from bvrank.bench import versus
from bvrank.bench.agreement import SAME
from bvrank.bench.material import Row, random_rows, saved_model, saved_rows
from bvrank.bench.own import tree_of
from bvrank.bench.result import Arm, recomputes
from bvrank.bench.versus import Setting, chosen, own_jobs, peer_jobs
from bvrank.bench.work import Work
from bvrank.bench.worker import Done, started
from bvrank.errors import ConfigError, ModelError
from bvrank.models.tiny import tiny_tokenizer
from bvrank.records import BARE, FULL
from tests.bench.shape import SHAPE

RATE = 1e-2  # so high that other rows have other losses after a step


def test_missing_trl_is_said_before_anything_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == "trl" else real(n))
    with pytest.raises(ConfigError, match=r"peer: the package trl is not installed.*peer=false"):
        versus.check_peer()


def test_trl_is_run_once_for_each_view() -> None:
    common = {"views": [FULL, BARE], "batch": 4, "compile": False}
    setting = Setting(2, "live")
    assert setting.name == "trl micro 2 live"
    both = peer_jobs(common, setting)
    assert {n: j["views"] for n, j in both.items()} == {
        "trl micro 2 live full": [FULL],
        "trl micro 2 live bare": [BARE],
    }
    assert list(peer_jobs({**common, "views": [FULL]}, setting)) == ["trl micro 2 live"]
    assert {n: j["micro"] for n, j in own_jobs(common, [4, 1], [2]).items()} == {
        "bvrank micro 4": 4, "bvrank micro 1": 1, "bvrank micro 2 recomputed": 2,
    }  # fmt: skip


def test_what_is_recomputed_is_not_compiled_and_says_so() -> None:
    jobs = own_jobs({"compile": True}, [4], [2])
    assert {name: (job["compile"], job["recompute"]) for name, job in jobs.items()} == {
        "bvrank micro 4": (True, False), "bvrank micro 2 recomputed, uncompiled": (False, True),
    }  # fmt: skip


def test_the_two_fastest_settings_are_run_and_the_fastest_in_one_forward() -> None:
    screen = [(Setting(2, "live"), 1.0), (Setting(1, "live"), 2.0), (Setting(4, "live"), 3.0),
              (Setting(4, "precomputed"), 4.0)]  # fmt: skip
    assert chosen(screen, 4) == [Setting(2, "live"), Setting(1, "live"), Setting(4, "live")]
    assert chosen(screen[1:], 4) == [Setting(1, "live"), Setting(4, "live")]
    assert chosen(screen[:1], 4) == [Setting(2, "live")] and chosen([], 4) == []


def test_passes_add_up_in_time_and_not_in_memory_and_the_first_step_does_not_count() -> None:
    one = [Done(9.0, 0, 1, 1), Done(1.0, 0, 50, 10), Done(2.0, 0, 60, 20)]
    other = [Done(9.0, 0, 1, 1), Done(3.0, 0, 70, 5), Done(4.0, 0, 80, 6)]
    assert versus._joined([one, other]) == Arm((4.0, 6.0), 80, 6)


def test_work_is_that_of_the_steps_that_count_round_and_round() -> None:
    rows = [r for n in (2, 3, 5, 7) for r in random_rows(1, 61, n, 2, 0)]
    each = [Work.of(tree_of(row)) for row in rows]
    steps = versus.work_of(rows, 2, 4)
    assert steps == [each[2] + each[3], each[0] + each[1], each[2] + each[3]]


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """Three batches of two pairs, of several sizes."""
    return [r for n in range(6) for r in random_rows(1, 300, 3 + n, 2 + n % 3, n)]


def measured(arms: dict[str, dict[str, Any]], rows: list[Row], folder: Path) -> dict[str, Arm]:
    """The arms in turn, four steps each: beyond the end of the rows."""
    common = common_of(rows, folder)
    jobs = {name: {name: {**common, **arm}} for name, arm in arms.items()}
    seen: list[int] = []
    found = versus.measured(jobs, folder, rounds=2, steps=2, limit=1e9, allowed=SAME,
                            on_round=seen.append)  # fmt: skip
    assert seen == [1, 2]
    assert found.agreed.apart <= SAME < found.agreed.moved
    return found.arms


def common_of(rows: list[Row], folder: Path, **changes: int) -> dict[str, Any]:
    """What every arm is told; `changes` of the shape."""
    shape = {**SHAPE, "vocab_size": 300, **changes}
    return {
        "rows": saved_rows(rows, folder), "batch": 2, "views": list(rows[0]), "beta": 0.5,
        "model": saved_model(shape, 0, tiny_tokenizer(), folder / "model"), "lr": RATE,
        "threads": 1, "device": "cpu", "precision": "fp32", "compile": False,
        "store": str(folder / "store"),
    }  # fmt: skip


def arm_of(micro: int, **changes: Any) -> dict[str, Any]:
    (job,) = own_jobs({}, [micro]).values()
    return {**job, **changes}


def test_arms_of_any_size_have_one_loss_on_two_views(rows: list[Row], tmp_path: Path) -> None:
    both = both_views(rows)
    arms = {"two": arm_of(2), "one": arm_of(1), "again": arm_of(2, recompute=True)}
    found = measured(arms, both, tmp_path)
    assert [len(arm.seconds) for arm in found.values()] == [4, 4, 4]
    assert all(0 < arm.above < arm.peak for arm in found.values())


def test_trl_and_bvrank_have_one_loss_step_by_step(rows: list[Row], tmp_path: Path) -> None:
    pytest.importorskip("trl")
    peer = {"library": "trl", "micro": 1, "reference": "precomputed", "recompute": False}
    found = measured({"bvrank": arm_of(2), "trl": peer}, rows, tmp_path)
    assert list(found) == ["bvrank", "trl"]


def both_views(rows: list[Row]) -> list[Row]:
    return [{**row, BARE: [row[FULL][0][:2], *other[FULL][1:]]}
            for row, other in zip(rows, rows[1:] + rows[:1], strict=True)]  # fmt: skip


def test_trls_passes_on_each_view_are_bvpos_endpoints(rows: list[Row], tmp_path: Path) -> None:
    """And a pass on the other view, or of other weights, is found out."""
    pytest.importorskip("trl")
    common = common_of(both_views(rows), tmp_path)
    peers = {"trl": peer_jobs(common, Setting(2, "precomputed"))}
    losses = {}
    with started(peers["trl"], tmp_path) as workers:
        for name, worker in workers.items():
            losses[name] = [worker.step().loss for _ in range(4)]
    found = versus.witnessed(common, peers, losses, tmp_path, SAME)
    assert found.apart <= SAME < found.moved
    full, bare = losses
    swapped = {full: losses[bare], bare: losses[full]}
    with pytest.raises(ModelError, match=r"losses bvrank full alone .*, trl micro 2 precomputed"):
        versus.witnessed(common, peers, swapped, tmp_path, SAME)


def test_trl_computes_activations_again_where_it_is_told_to(
    rows: list[Row], tmp_path: Path
) -> None:
    """Else its arm would be named after what it does not do: long rows take less memory then."""
    pytest.importorskip("trl")
    sizes = {"num_hidden_layers": 8, "intermediate_size": 512, "max_position_embeddings": 700}
    common = common_of(random_rows(2, 300, 2, 600, 0), tmp_path, **sizes)
    above = []
    for again in (False, True):
        ((name, job),) = peer_jobs(common, Setting(2, "precomputed", again)).items()
        assert recomputes(name) == again
        with started({name: job}, tmp_path) as workers:
            losses = [workers[name].step() for _ in range(2)]
        above.append((losses[-1].above, [d.loss for d in losses]))
    (kept, one), (recomputed, other) = above
    assert one == pytest.approx(other, abs=SAME)
    assert recomputed < 0.7 * kept  # what eight wide layers keep is most of it


def test_an_arm_on_other_rows_is_found_out(rows: list[Row], tmp_path: Path) -> None:
    turned = tmp_path / "turned"
    turned.mkdir()
    other = {"rows": saved_rows(rows[::-1], turned)}
    with pytest.raises(ModelError, match="the arms train different things"):
        measured({"whole": arm_of(2), "turned": arm_of(2, **other)}, rows, tmp_path)
