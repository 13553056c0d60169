import math

import pytest

from bvrank.reports.figures import figures, is_share, sampled, told, views
from bvrank.run import read_run


def test_all_figures_of_a_run(make_run):
    found = figures(read_run(make_run(0, gain=0.1)))
    assert found["accuracy/thinking/avg@4/before"] == pytest.approx(0.4)
    assert found["accuracy/thinking/avg@4/gain"] == pytest.approx(0.1)
    assert found["accuracy/nothinking/greedy/after"] == pytest.approx(0.65)
    assert found["accuracy/thinking/trace_tokens/after"] == 29.9
    assert {"loss", "eval/loss", "full/rewards/margins", "seconds"} <= found.keys()


@pytest.mark.parametrize(
    "summary",
    [
        {"accuracy": None, "final": None, "seconds": None},
        {"accuracy": {"thinking": None}, "final": [], "seconds": True},
        {"accuracy": {"thinking": {"before": 3, "after": {"greedy": "x"}}}, "final": {"a": "b"}},
        {"accuracy": {"thinking": {"after": {"greedy": {"n": 3}}}}, "final": {"loss": None}},
    ],
)
def test_parts_that_lack_or_are_strange(make_run, summary):
    found = figures(read_run(make_run(0, summary=summary)))
    assert found.keys() <= {"seconds"}


def test_views_in_order():
    names = ["loss", "full/rewards/margins", "bare/logps/chosen", "eval/full/rewards/margins"]
    assert views(names) == ["full", "bare"]
    assert views(["rewards/margins", "eval/rewards/margins"]) == [""]
    assert views(["loss"]) == []


def test_the_sampled_measure():
    assert sampled(["greedy", "avg@16"]) == "avg@16"
    assert sampled([]) == "avg@4"


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("accuracy/thinking/avg@4/after", 0.5125, "51.2"),
        ("accuracy/thinking/avg@4/gain", 0.02, "+2.0"),
        ("accuracy/thinking/trace_tokens/after", 30.25, "30.250"),
        ("full/rewards/accuracies", 0.75, "75.0"),
        ("full/rewards/margins", -0.5, "-0.500"),
        ("seconds", 61.4, "61"),
        ("loss", math.nan, "nan"),
    ],
)
def test_told(name, value, text):
    assert told(name, value) == text
    assert is_share(name) == ("accurac" in name and "tokens" not in name)
