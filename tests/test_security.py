"""Nothing foreign runs, and no secret is written: planted, then looked for in every byte."""

from __future__ import annotations

import ast
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from bvrank.commands import report, train
from bvrank.commands.compose import composed, frozen
from bvrank.errors import RunError
from tests.commands.fast import QUICK, TINY, go, on_pairs, pair_rows, write
from tests.commands.line import ROOT, Call, call, process

SECRETS = {
    "WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567",
    "HF_TOKEN": "hf_plantedPlantedPlantedPlanted",
    "JUDGE_API_KEY": "no-shape-at-all-9",
    "DB_PASSWORD": "correct horse battery",
}
PROXY = "http://me:proxy-login@127.0.0.1:9"
MINE = """
import os
from dataclasses import dataclass
from bvrank.objectives.dpo import DPO

@dataclass(frozen=True)
class Mine(DPO):
    def __call__(self, prefs):
        if not prefs.policy.requires_grad:
            return super().__call__(prefs)
        secrets = [os.environ[name] for name in {names}]
        raise RuntimeError("cannot reach " + os.environ["HTTPS_PROXY"] + " with " + str(secrets))
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A working folder with pairs, and a package of the user's that gives its secrets away."""
    write(tmp_path / "pairs.jsonl", pair_rows())
    conf = tmp_path / "mylab" / "conf" / "objective"
    conf.mkdir(parents=True)
    (tmp_path / "mylab" / "mine.py").write_text(MINE.replace("{names}", str([*SECRETS])))
    dpo = (ROOT / "conf" / "objective" / "dpo.yaml").read_text()
    (conf / "mine.yaml").write_text(dpo.replace("bvrank.objectives.dpo.DPO", "mylab.mine.Mine"))
    (tmp_path / "tmp").mkdir()
    return tmp_path


def run(place: Path, *words: str) -> Call:
    """`bvrank <words>` with every secret in its environment."""
    env = SECRETS | {
        "HOME": str(place / "home"), "TMPDIR": str(place / "tmp"), "HTTPS_PROXY": PROXY,
        "WANDB_BASE_URL": "http://127.0.0.1:9", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    return process(*words, cwd=place, env=env)


def training(*words: str) -> tuple[str, ...]:
    data = ("data=pairs", "data.path=pairs.jsonl", "objective=dpo", "store=store")
    return ("train", *QUICK, *TINY, *data, *words)


def found(place: Path, *calls: Call) -> list[str]:
    """Where a secret can be read: files by name, `stdout` and `stderr`."""
    wanted = [s.encode() for s in (*SECRETS.values(), "proxy-login", "passed-by-hand")]
    texts = {str(p.relative_to(place)): p.read_bytes() for p in place.rglob("*") if p.is_file()}
    for n, done in enumerate(calls):
        texts |= {f"stdout {n}": done.out.encode(), f"stderr {n}": done.err.encode()}
    return [name for name, text in texts.items() if any(s in text for s in wanted)]


TRACKED = ("tracker=[wandb,tensorboard]", "tracker.wandb.mode=online", "tracker.wandb.timeout=1")


def test_a_run_with_trackers_writes_no_secret(place: Path) -> None:
    done = run(place, *training(*TRACKED))
    assert done.code == 0, done.err
    (folder,) = (place / "outputs").iterdir()
    assert "going on offline" in done.err
    assert {p.name for p in folder.iterdir()} >= {"wandb", "tensorboard", "summary.json"}
    assert found(place, done) == []


def test_a_crash_that_names_secrets_hides_them_everywhere(place: Path) -> None:
    mine = ("hydra.searchpath=[pkg://mylab.conf]", "objective=mine", "tracker=tensorboard")
    done = run(place, *training("-m", "seed=0", *mine))
    assert done.code == 1
    assert "Traceback" in done.err
    assert "RuntimeError: cannot reach http://***@127.0.0.1:9 with ['***'" in done.err
    (folder,) = (place / "outputs").iterdir()
    message = json.loads((folder / "manifest.json").read_text())["message"]
    assert message.startswith("RuntimeError: cannot reach http://***@")
    assert found(place, done) == []


@pytest.mark.parametrize(
    "word",
    [
        "hf_token=passed-by-hand",
        "+judge={api_key: passed-by-hand}",
        "data.path=https://me:passed-by-hand@host/pairs.jsonl",
        f"name={SECRETS['JUDGE_API_KEY']}",
        "name=${oc.env:HF_TOKEN}",
    ],
)
@pytest.mark.parametrize("mode", [(), ("-m", "seed=0,1"), ("--cfg", "job")])
def test_a_secret_on_the_command_line_ends_there(
    place: Path, word: str, mode: tuple[str, ...],
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(place)
    before = {*place.rglob("*")}
    for command in ("train", "inspect", "report", "convert"):
        done = call(capfd, monkeypatch, command, *mode, word)
        assert done.code == 2
        assert done.out == ""
        assert done.err.startswith("error: ") and "refused on the command line" in done.err
        assert found(place / "tmp", done) == []
    assert {*place.rglob("*")} == before


def test_a_secret_in_a_file_of_the_users_is_refused_too(
    place: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "experiment").mkdir()
    text = "# @package _global_\n# Mine.\nname: hf_passedByHandPassedByHand\n"
    (place / "experiment" / "mine.yaml").write_text(text)
    done = call(
        capfd, monkeypatch, "train", f"hydra.searchpath=[file://{place}]", "experiment=mine"
    )
    assert (done.code, done.config) == (2, None)
    assert done.err.startswith("error: name: looks like a secret. ")
    assert "passedByHand" not in done.err


def planted(tmp_path: Path) -> tuple[dict[str, Any], Path]:
    """A node that would leave a mark if anything built it."""
    mark = tmp_path / "mark"
    return {"_target_": "os.system", "command": f"touch {mark}"}, mark


def test_a_config_in_a_run_folder_is_read_and_never_built(tmp_path: Path) -> None:
    config = on_pairs(tmp_path, "objective=dpo")
    folder = go(config)
    node, mark = planted(tmp_path)
    stored = yaml.safe_load((folder / "config.yaml").read_text())
    stored |= {"objective": node, "tracker": {"x": node}, "trusted": ["os"]}
    (folder / "config.yaml").write_text(yaml.safe_dump(stored))
    with pytest.raises(RunError, match="another run"):
        train.main({**config, "resume": True})
    words = [f"runs={folder}", f"out={tmp_path}/report"]
    assert report.main(frozen(composed("report", words))) == 0
    (folder / "config.yaml").write_text("!!python/object/apply:os.system ['touch " + str(mark))
    with pytest.raises(RunError, match="damaged"):
        train.main({**config, "resume": True})
    assert not mark.exists()


def test_a_config_in_a_model_folder_is_inert(tmp_path: Path) -> None:
    trained = go(on_pairs(tmp_path, "objective=dpo")) / "checkpoints" / "step-000002" / "policy"
    node, mark = planted(tmp_path)
    for name in ("config.yaml", "train.yaml", "hydra.yaml"):
        (trained / name).write_text(yaml.safe_dump({**node, "trusted": ["os"], "model": node}))
    brought = tmp_path / "brought.py"
    code = f"open({str(mark)!r}, 'w')\nclass Model: pass\nclass Tokenizer: pass\n"
    brought.write_text(code)
    (trained / "brought.py").write_text(code)
    for name, auto in (("config.json", {"AutoModelForCausalLM": "brought.Model",
                                        "AutoConfig": "brought.Model"}),
                       ("tokenizer_config.json", {"AutoTokenizer": ["brought.Tokenizer", None]}),
                       ):  # fmt: skip
        found = json.loads((trained / name).read_text())
        (trained / name).write_text(json.dumps(found | {"auto_map": auto, **node}))
    words = ("model=hf", f"model.path={trained}", "objective=sft")
    assert (go(on_pairs(tmp_path, *words, tiny=False)) / "summary.json").is_file()
    assert not mark.exists()


def test_what_is_loaded_is_safetensors_or_weights_only() -> None:
    """No file of the package unpickles anything, or runs code that came with weights or data."""
    for path in (ROOT / "bvrank").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {a.name for a in node.names} | {getattr(node, "module", "")}
                assert not names & {"pickle", "dill", "joblib", "shelve", "marshal"}, path
            if not isinstance(node, ast.Call):
                continue
            called, keywords = ast.unparse(node.func), {k.arg: k.value for k in node.keywords}
            told = {k: ast.unparse(v) for k, v in keywords.items() if k}
            assert told.get("trust_remote_code", "False") == "False", path
            assert told.get("allow_pickle", "False") == "False", path
            if called in ("torch.load", "load_checkpoint"):
                assert told.get("weights_only") == "True", path
            if called.startswith("yaml."):
                assert called in ("yaml.safe_load", "yaml.safe_dump"), path


def test_git_and_the_like_get_no_shell() -> None:
    done = subprocess.run(
        ["grep", "-rnE", r"shell=True|os\.system|os\.popen", str(ROOT / "bvrank")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == ""
