import pytest

from bvrank.protocols import Tracker
from bvrank.records import StepReport
from bvrank.tracking.several import Several


class Heard:
    """Writes down what it is told."""

    def __init__(self):
        self.calls = []

    def start(self, config, folder):
        self.calls.append(("start", config))

    def log(self, report):
        self.calls.append(("log", report.step))

    def finish(self, summary):
        self.calls.append(("finish", summary))


class Broken(Heard):
    """Raises at the calls it is given."""

    def __init__(self, *at):
        super().__init__()
        self.at = at

    def __getattribute__(self, name):
        if name in ("start", "log", "finish") and name in self.at:
            raise ConnectionError("no route to host")
        return super().__getattribute__(name)


def run(tmp_path, *trackers):
    several: Tracker = Several(trackers)
    several.start({"seed": 0}, tmp_path)
    for step in (1, 2):
        several.log(StepReport(step, {}))
    several.finish({"a": 1})


ALL = [("start", {"seed": 0}), ("log", 1), ("log", 2), ("finish", {"a": 1})]


def test_everybody_hears_everything_in_order(tmp_path):
    a, b = Heard(), Heard()
    run(tmp_path, a, b)
    assert a.calls == b.calls == ALL


@pytest.mark.parametrize("at", ["start", "log", "finish"])
def test_a_broken_one_is_told_once_and_stops_nobody(tmp_path, capsys, at):
    healthy, broken = Heard(), Broken(at)
    run(tmp_path, broken, healthy)
    assert healthy.calls == ALL
    told = capsys.readouterr().err
    assert told == "warning: tracker Broken: no route to host; training goes on\n"


def test_one_that_did_not_start_is_not_called_again(tmp_path):
    broken = Broken("start")
    run(tmp_path, broken)
    assert broken.calls == []


def test_one_that_recovers_is_heard_again(tmp_path):
    broken = Broken("log")
    run(tmp_path, broken)
    assert broken.calls == [ALL[0], ALL[-1]]


def test_a_keyboard_interrupt_passes():
    class Stopped(Heard):
        def log(self, report):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Several([Stopped()]).log(StepReport(1, {}))


def test_secrets_reach_no_tracker_and_no_warning(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "planted-value")
    heard = Heard()
    several = Several([heard])
    several.start({"a": {"b": ["planted-value"]}, "path": tmp_path}, tmp_path)
    assert heard.calls == [("start", {"a": {"b": ["***"]}, "path": str(tmp_path)})]

    def refused(report):
        raise ConnectionError("401 for planted-value")

    heard.log = refused
    several.log(StepReport(1, {}))
    assert capsys.readouterr().err == "warning: tracker Heard: 401 for ***; training goes on\n"
