import json

import pytest

from bvrank.errors import Interrupted, RunError, TrainingError
from bvrank.records import Refused
from bvrank.run import folder as folder_module
from bvrank.run.opening import open_run


@pytest.fixture
def folder(tmp_path):
    with open_run(tmp_path, "r", {"seed": 1}) as opened:
        yield opened


def manifest(folder):
    return json.loads(folder.manifest_path.read_text())


def test_update_writes(folder):
    folder.update(world_size=2)
    assert manifest(folder)["world_size"] == 2
    assert manifest(folder)["seconds"] >= 0


def test_seconds_add_up_over_sessions(folder, tmp_path):
    folder.update(seconds_so_far=None)
    folder.manifest["seconds"] = 100.0
    folder_module.write_atomic(folder.manifest_path, json.dumps(folder.manifest))
    folder.close()
    with open_run(tmp_path, "r", {"seed": 1}, resume=True) as again:
        again.update()
        assert again.manifest["seconds"] >= 100


def test_rows_are_counted_by_reason_and_listed(folder):
    rows = [Refused("a:1", "empty", "x"), Refused("a:2", "long", "y"), Refused("a:3", "long", "z")]
    folder.record_data(fingerprint="f", kept=7, refused=rows)
    counts = {"long": 2, "empty": 1}
    assert manifest(folder)["data"] == {"fingerprint": "f", "kept": 7, "refused": counts}
    listed = [json.loads(line) for line in folder.refused_path.read_text().splitlines()]
    assert listed[0] == {"where": "a:1", "reason": "empty", "detail": "x"}
    assert len(listed) == 3


def test_finish_writes_the_summary_first(folder, monkeypatch):
    order = []
    real = folder_module.write_atomic
    monkeypatch.setattr(
        folder_module, "write_atomic", lambda p, c: (order.append(p.name), real(p, c))
    )
    folder.finish({"final": {"loss": float("nan")}})
    assert order == ["summary.json", "manifest.json"]
    assert manifest(folder)["status"] == "finished"
    assert manifest(folder)["ended"]
    assert json.loads(folder.summary_path.read_text()) == {"final": {"loss": "NaN"}}


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (TrainingError("loss is nan", where="step 3"), "failed", "step 3: loss is nan"),
        (ValueError("a\nb"), "failed", "ValueError: a b"),
        (Interrupted("SIGTERM"), "interrupted", "SIGTERM"),
        (RuntimeError("bad hf_abcdefghijklmnop"), "failed", "RuntimeError: bad ***"),
    ],
)
def test_an_exception_becomes_the_exit_status(tmp_path, error, status, message):
    with pytest.raises(type(error)), open_run(tmp_path, "r", {"seed": 1}) as folder:
        raise error
    assert (manifest(folder)["status"], manifest(folder)["message"]) == (status, message)


def test_an_interrupt_says_how_the_run_goes_on(tmp_path):
    told = pytest.raises(Interrupted, match=r"by SIGHUP\..*resume=true")
    with told, open_run(tmp_path, "r", {"seed": 1}) as folder:
        raise KeyboardInterrupt("stopped by SIGHUP")
    assert manifest(folder)["status"] == "interrupted"
    with pytest.raises(KeyboardInterrupt), open_run(tmp_path, "s", {"seed": 1}) as folder:
        folder.finish({})
        raise KeyboardInterrupt
    assert manifest(folder)["status"] == "finished"


def test_an_exception_after_the_end_does_not_undo_it(tmp_path):
    with pytest.raises(ValueError), open_run(tmp_path, "r", {"seed": 1}) as folder:
        folder.finish({})
        raise ValueError
    assert manifest(folder)["status"] == "finished"


def test_a_full_disk_does_not_hide_the_first_error(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with pytest.raises(ValueError, match="first"), open_run(tmp_path, "r", {"seed": 1}):
        monkeypatch.setattr(folder_module, "write_atomic", full)
        raise ValueError("first")


def test_a_write_that_fails_is_one_line(folder, monkeypatch):
    def denied(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(folder_module, "write_atomic", denied)
    with pytest.raises(RunError, match=r"cannot be written: Permission denied\. Choose"):
        folder.update()


def test_paths(folder):
    names = [folder.metrics_path, folder.checkpoints, folder.evals]
    assert [p.name for p in names] == ["metrics.jsonl", "checkpoints", "evals"]
    assert folder.name == "r"
