import io
import math

import pytest
from rich.console import Console

from bvrank.reports.endtable import end_table
from bvrank.run import read_run
from tests.reports.runs import accuracy, figure


def shown(path, width=80):
    console = Console(file=io.StringIO(), width=width)
    console.print(end_table(read_run(path)))
    return console.file.getvalue()


def line(text, start):
    return " ".join(next(x for x in text.splitlines() if x.strip().startswith(start)).split())


def test_the_table_of_the_arithmetic_world(make_run):
    following = "bvrank train objective=bvpo 'seed=[1]'"
    text = shown(make_run(0, gain=0.1, summary={"next": following}))
    # half = 1.96 sqrt(p (1 - p) / 500); gain: both measurements independent
    assert line(text, "Thinking") == (
        "Thinking 40.0 ± 4.3 50.0 ± 4.4 +10.0 ± 6.1 43.0 → 50.0 31.2 → 29.9"
    )
    assert line(text, "NoThinking").startswith("NoThinking 50.0 ± 4.4 55.0 ± 4.4 +5.0 ± 6.2")
    assert "500 problems per mode" in text
    assert "avg@4 before" in text
    assert line(text, "rows:") == "rows: 98 kept, 2 refused (empty 1, long|er 1)"
    assert line(text, "next:") == f"next: {following}"
    assert "(61 s)" in text


def test_views_first_to_last(make_run):
    path = make_run(0, summary={"first": {"full/rewards/margins": 0.0, "loss": math.log(2)}})
    text = shown(path)
    assert line(text, "full").startswith("full 0.00 → ")
    assert line(text, "training loss").startswith("training loss: 0.6931 → 0.")
    assert line(text, "held-out loss").startswith("held-out loss: 0.6431 → 0.4931")
    heads = "view margin ranked right, % held out, % chosen moved rejected moved"
    assert line(text, "view") == heads
    assert line(text, "full").endswith(" → -3.00 -0.33 → -13.00")
    assert "a tie counts half" in " ".join(text.split())


def test_a_zero_has_no_sign(make_run):
    first, final = {"full/rewards/margins": -1e-9}, {"full/rewards/margins": 0.5}
    text = shown(make_run(0, summary={"first": first, "final": final}))
    assert line(text, "full") == "full 0.00 → 0.50"


def test_without_a_reference_log_probs_stand_there(make_run):
    final = {"full/rewards/margins": 0.5, "full/logps/chosen": -3.0, "full/logps/rejected": -4.0}
    text = shown(make_run(0, summary={"final": final}))
    assert line(text, "view") == "view margin log p chosen log p rejected"


def test_nothing_is_cut_off_at_80_columns(make_run):
    assert "…" not in shown(make_run(0), 80)


def test_a_long_folder_is_told_to_the_last_letter(make_run):
    path = make_run(0, name="x" * 150)
    assert "x" * 150 in "".join(shown(path).split())


def test_a_paired_gain_goes_before_the_difference(make_run):
    measured = accuracy(0.1)
    paired = {"value": 0.1, "n": 500, "stderr": 0.01, "interval": [0.08, 0.12]}
    measured["thinking"]["gain"] = {"avg@4": paired}
    text = shown(make_run(0, summary={"accuracy": measured}))
    assert "+10.0 ± 2.0" in line(text, "Thinking")


def test_an_interval_from_the_standard_error(make_run):
    measured = {"thinking": {"after": {"avg@8": {"value": 0.5, "n": 9, "stderr": 0.1}}}}
    text = shown(make_run(0, summary={"accuracy": measured}))
    assert line(text, "Thinking") == "Thinking - 50.0 ± 19.6 - - -"
    assert "avg@8 before" in text


def test_runs_without_accuracy(make_run):
    text = shown(make_run(0, gain=None))
    assert "Accuracy" not in text
    assert "margin" in text
    assert "run folder" in text


def test_a_run_without_views_has_losses(make_run):
    text = shown(make_run(0, views=(), gain=None))
    assert "margin" not in text
    assert "training loss" in text


def test_the_best_checkpoint(make_run):
    text = shown(make_run(0, summary={"best": {"metric": "eval/loss", "value": 0.5, "step": 30}}))
    assert line(text, "best") == "best eval/loss: 0.5000 at step 30"


STRANGE = [
    {"accuracy": {"thinking": None}},
    {"accuracy": {"thinking": {"before": {"avg@4": "x"}, "after": 3}}},
    {"accuracy": {"x[/y]": {"after": {"avg@4": figure(0.5), "closed_rate": 0.5}}}},
    {"accuracy": {"thinking": {"after": {"avg@4": {"value": math.nan, "interval": [1]}}}}},
    {"first": 3, "final": {"loss": math.nan, "full/rewards/margins": None}},
    {"final": [], "best": 1, "rows": {"kept": 3, "refused": None}, "seconds": "x", "next": ""},
]


@pytest.mark.parametrize("summary", STRANGE)
@pytest.mark.parametrize("width", [20, 80])
def test_whatever_stands_in_the_summary(make_run, summary, width):
    assert "run" in shown(make_run(0, summary=summary), width)


def test_a_run_of_which_only_the_folder_is_left(make_run):
    path = make_run(0)
    for name in ("summary.json", "metrics.jsonl", "config.yaml"):
        (path / name).unlink()
    assert "run folder" in shown(path)
