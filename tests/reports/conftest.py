import random

import pytest

from bvrank.records import Refused, StepReport
from bvrank.run import open_run, run_name
from bvrank.tracking.jsonl import Jsonl
from tests.reports.runs import COMMON, accuracy, metrics


@pytest.fixture
def make_run(tmp_path):
    """Makes a run folder below tmp_path/outputs and returns its path."""

    def make(
        seed=0,
        *,
        stop=None,
        views=("full", "bare"),
        gain=0.1,
        strength=1.0,
        summary=None,
        **changes,
    ):
        config = {**COMMON, "seed": seed, **changes}
        name = config.get("name") or run_name(
            config,
            objective=config["objective"]["_target_"],
            data=config["data"]["_target_"],
        )
        draw, steps = random.Random(seed), config["steps"]
        command = ["bvrank", "train", f"seed={seed}"]
        with open_run(tmp_path / "outputs", name, config, command=command) as folder:
            refused = [Refused("a:1", "empty", ""), Refused("a:2", "long|er", "")]
            folder.record_data(fingerprint="0123456789abcdef", kept=98, refused=refused)
            tracker = Jsonl()
            tracker.start(config, folder.path)
            for step in range(1, (stop or steps) + 1):
                values = metrics(step, steps, views, draw, strength)
                tracker.log(StepReport(step, values))
            tracker.finish({})
            if stop:
                folder.fail(RuntimeError("out of <memory> | at `row` 7"))
            else:
                shared = {"accuracy": accuracy(gain)} if gain is not None else {}
                folder.finish({"final": values, "seconds": 61.0, **shared, **(summary or {})})
        return folder.path

    return make
