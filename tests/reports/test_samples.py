import json

from bvrank.reports.collect import collect
from bvrank.reports.rows import rows_of
from bvrank.reports.samples import LONG, MANY, MOST, SHORT, samples
from tests.reports.html import Page

EXAMPLE = {
    "prompt": "3+4=?", "view": "bare", "chosen": None, "rejected": None, "gold": "7",
    "max_new_tokens": 64, "before": {"text": "8", "ended": True},
    "after": {"text": "7 7 7", "ended": False},
}  # fmt: skip


def shown(make_run, tmp_path, *examples, runs=1):
    for seed in range(runs):
        run = make_run(0, note=seed)
        (run / "examples.jsonl").write_text("".join(json.dumps(e) + "\n" for e in examples))
    return Page(samples(rows_of(collect(str(tmp_path / "outputs")))[0]))


def blocks(page):
    """(label, text) of every text that is shown."""
    labels = [t for tag, t in page.texts if tag == "p"]
    return list(zip(labels, [t for tag, t in page.texts if tag == "pre"], strict=True))


def test_prompt_answer_before_and_after(make_run, tmp_path):
    assert blocks(shown(make_run, tmp_path, EXAMPLE)) == [
        ("prompt, view bare", "3+4=?"), ("right answer", "7"), ("before", "8"),
        ("after, cut off after 64 tokens", "7 7 7"),
    ]  # fmt: skip


def test_what_did_not_change_and_what_is_empty(make_run, tmp_path):
    same = {**EXAMPLE, "gold": None, "before": {"text": "", "ended": True},
            "after": {"text": "", "ended": True}}  # fmt: skip
    found = blocks(shown(make_run, tmp_path, same))
    assert found[1:] == [("before", "(nothing)"), ("after, the same", "(nothing)")]


def test_a_run_that_stopped_has_a_before_alone(make_run, tmp_path):
    page = shown(make_run, tmp_path, {**EXAMPLE, "after": None})
    assert "after" in page.text("p") and "none" in page.text("p")


def test_long_texts_are_cut_and_many_rows_cut_them_shorter(make_run, tmp_path):
    long = {**EXAMPLE, "prompt": "x" * 9000}
    prompt = blocks(shown(make_run, tmp_path, long))[0][1]
    assert LONG <= len(prompt) < LONG + 40
    prompt = blocks(shown(make_run, tmp_path, long, runs=MANY + 1))[0][1]
    assert SHORT <= len(prompt) < SHORT + 40


def test_of_many_examples_the_first_are_shown(make_run, tmp_path):
    examples = [{**EXAMPLE, "prompt": f"p{n}"} for n in range(MOST + 3)]
    page = shown(make_run, tmp_path, *examples)
    assert [t for label, t in blocks(page) if "prompt" in label] == [f"p{n}" for n in range(MOST)]


def test_no_examples_no_section(make_run, tmp_path):
    assert samples(rows_of(collect(str(make_run(0))))[0]) == ""
