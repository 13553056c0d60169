import json
import re
import shutil

import pytest

from bvrank.reports.collect import collect
from bvrank.reports.page import counted, page
from bvrank.reports.tables import tables
from tests.reports.html import checked
from tests.reports.runs import COMMON, DPO

HOSTILE = [
    '"><script>alert(1)</script>',
    "</pre></style></title><img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>&lt;b&gt;",
    "\x1b[2J\x00\u202egnp\ud800",
    "' onmouseover='alert(1)",
]


@pytest.fixture
def report(tmp_path):
    """The page of all runs made, as it is written, checked."""

    def make():
        records = collect(str(tmp_path / "outputs"))
        text = page(records, tables(records))
        text.encode()
        return checked(text), text

    return make


def test_the_parts_of_a_page(make_run, report):
    for seed in range(3):
        make_run(seed)
    shown, _ = report()
    assert shown.text("h1") == "Report"
    assert [a["id"] for tag, a in shown.tags if tag == "section"] == ["s0", "s1", "s3", "s4"]
    assert shown.text("h3").startswith("Accuracy of the final answerPairs by viewTrainingLoss")
    assert "3 runs: 3 finished" in shown.text("p")


def test_the_figures_of_the_page_are_those_of_the_tables(make_run, report, tmp_path):
    for seed in range(4):
        make_run(seed, strength=1 + seed)
    make_run(0, objective=DPO, views=("full",), gain=None)
    make_run(9, stop=2)
    shown, _ = report()
    expected = tables(collect(str(tmp_path / "outputs")))
    for found, table in zip(shown.tables, expected, strict=False):
        assert found == [table.header(), *table.body()]
    assert "(sd " in shown.text("td")


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_comes_out_as_text(make_run, report, text):
    """As a config key and value, a message, a sample, a command, a reason, a seed, a name."""
    run, other = make_run(0), make_run(0, objective=DPO, views=("full",))
    settings = {**COMMON, "note": text, text: 1, "seed": text}
    (run / "config.yaml").write_text(json.dumps(settings))  # JSON is YAML, surrogates included
    settings |= {"objective": {**DPO, "_target_": f"{text}.X", text: text}}
    (other / "config.yaml").write_text(json.dumps(settings))
    with (other / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 41, f"{text}/rewards/margins": 1}) + "\n")
    failed = make_run(1, stop=3)
    rewrite(failed / "manifest.json", message=text, command=["bvrank", text], rows_at_fault=[text],
            git={"commit": text}, versions={text: text}, machine=text, started=text,
            data={"kept": text, "refused": {text: text}, "fingerprint": text},
            resumed=[{"at": text, "command": [text]}, text])  # fmt: skip
    example = {k: text for k in ("prompt", "view", "chosen", "gold", "max_new_tokens")}
    example |= {"before": {"text": text, "ended": False}, "after": {"text": [text], "ended": 3}}
    (run / "examples.jsonl").write_text(json.dumps(example) + "\n")
    shown, page_text = report()
    assert text not in page_text
    named = [(k, v) for _, a in shown.tags for k, v in a.items() if k != "aria-label"]
    assert not [pair for pair in named if "alert" in str(pair)]
    if "alert" in text:
        assert text in shown.text("dd") and text in shown.text("pre")
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e\ud800]", page_text)


def test_runs_named_by_an_attacker(make_run, report, tmp_path):
    name = "<img src=x onerror=alert(1)>"
    make_run(0, name=name)
    make_run(0)
    shown, text = report()
    assert name not in text and name in shown.text()


def test_no_secret_by_its_shape(make_run, report):
    secret = "hf_" + "a1b2" * 8
    run = make_run(0, note=f"token {secret}", url="https://me:pass@host/x")
    rewrite(run / "manifest.json", command=["bvrank", f"x={secret}"])
    _, text = report()
    assert secret not in text and "pass@" not in text and "***" in text


def test_failed_running_killed_and_damaged_runs_are_told(make_run, report):
    make_run(0)
    make_run(1, stop=7)
    running, killed, damaged, lost = (make_run(s, stop=s) for s in (2, 3, 4, 5))
    for run in (running, killed):
        rewrite(run / "manifest.json", status="running", message="")
    (killed / "lock").unlink()
    (damaged / "manifest.json").write_text("{")
    (damaged / "metrics.jsonl").write_text('{"step": 1, "loss": 1}\n{"step"')
    (lost / "config.yaml").write_text("[1")
    (lost / "examples.jsonl").write_text("{\n")
    shown, _ = report()
    assert "6 runs: 2 failed, 1 finished, 1 running, 1 killed, 1 damaged" in shown.text("p")
    remarks = shown.text("li")
    for told in (
        "failed at step 7: RuntimeError: out of <memory> | at `row` 7.",
        f"{running.name}: running at step 2.", f"{killed.name}: killed at step 3.",
        f"{damaged.name}: damaged at step 1.", "manifest.json cannot be read",
        "config.yaml cannot be read", "examples.jsonl: 1 unreadable line left out",
    ):  # fmt: skip
        assert told in remarks
    assert [row[-1] for row in shown.tables[2]].count("finished") == 1


@pytest.mark.parametrize(
    "manifest",
    ["{}", "[]", "nonsense", '{"status": ["x"], "seconds": "y", "data": 3, "command": 7}',
     '{"status": "finished", "data": {"refused": 3}, "versions": [1], "ended": {}}'],
)  # fmt: skip
def test_whatever_stands_in_a_manifest(make_run, report, manifest):
    (make_run(0) / "manifest.json").write_text(manifest)
    report()


@pytest.mark.parametrize(
    "line",
    ["3", "{}", '{"prompt": 3, "before": "x", "after": [1]}', '{"before": null, "gold": {"a": 1}}',
     '{"prompt": null, "view": null, "chosen": ["x"], "before": {"text": null}}'],
)  # fmt: skip
def test_whatever_stands_in_examples(make_run, report, line):
    (make_run(0) / "examples.jsonl").write_text(line + "\n")
    report()


@pytest.mark.parametrize("value", ["1" + "0" * 400, '"NaN"', '"Infinity"', "null", "true", "1e308"])
def test_whatever_number_was_logged(make_run, report, value):
    run = make_run(0)
    with (run / "metrics.jsonl").open("a") as file:
        file.write(f'{{"step": 41, "loss": {value}, "grad_norm": {value}}}\n')
        file.write(f'{{"step": {value}, "loss": 1}}\n')
    report()


def test_nothing_but_folders(make_run, report):
    run = make_run(0)
    for name in ("metrics.jsonl", "summary.json", "config.yaml", "refused.jsonl"):
        (run / name).unlink()
    shown, _ = report()
    assert "svg" not in {tag for tag, _ in shown.tags}


def test_the_same_runs_give_the_same_page(make_run, report):
    make_run(0)
    make_run(1, stop=2)
    assert report()[1] == report()[1]


def test_losses_of_several_objectives_are_drawn_apart(make_run, report):
    make_run(0)
    make_run(0, objective=DPO, views=("full",))
    heads = report()[0].text("h3")
    assert "Loss, bvpo" in heads and "Loss, dpo" in heads


def test_fifty_runs_take_less_than_two_megabytes(make_run, report):
    long = {"text": "word " * 400, "ended": False}
    example = {"prompt": "p " * 500, "view": "full", "chosen": "c " * 500, "rejected": "r " * 500,
               "max_new_tokens": 64, "before": long, "after": long}  # fmt: skip
    first = make_run(0, steps=400)
    (first / "examples.jsonl").write_text(8 * (json.dumps(example) + "\n"))
    for n in range(1, 50):
        run = first.with_name(f"run-{n}")
        shutil.copytree(first, run)
        config = (run / "config.yaml").read_text()
        (run / "config.yaml").write_text(config.replace("alpha: 0.5", f"alpha: {n / 100}"))
    shown, text = report()
    assert "50 runs: 50 finished" in shown.text("p")
    assert len(text.encode()) < 2e6


def test_counting(make_run, tmp_path):
    make_run(0)
    assert counted(collect(str(tmp_path / "outputs"))) == "1 run: 1 finished"


def test_settings_that_differ_stand_before_all(make_run, report):
    for alpha in (0.25, 0.75):
        make_run(0, objective={**COMMON["objective"], "alpha": alpha})
    shown, text = report()
    (table,) = (t for t in shown.tables if t[0] == ["run", "objective.alpha"])
    assert [row[1] for row in table[1:]] == ["0.25", "0.75"]
    body = text[text.index("Configuration</h2>") :]
    assert body.index("objective.alpha</dt>") < body.index("_target_: bvrank.objectives")


def rewrite(path, **fields):
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
