"""`bvrank evaluate`, from the command line to figures."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bvrank.commands import evaluate, train
from bvrank.commands.compose import composed, frozen, opened
from bvrank.commands.subject import Subject
from bvrank.errors import ConfigError
from bvrank.evaluation.result import read_result
from bvrank.run.methods import address_of, method
from bvrank.run.record import read_manifest
from bvrank.sampling.chat import Failure, Reply, Request
from tests.commands.fast import QUICK, TINY, pair_rows, write
from tests.sampling.saying import saying, usual

SMALL = ("model.teach.steps=0", "model.hidden_size=16", "model.heads=2", "model.layers=1",
         "model.intermediate_size=16", "task.prompts.problems=6", "sampler.sequences=8",
         "task.n=2", "task.pass_at=[2]")  # fmt: skip


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    saying(monkeypatch, usual)
    return (*SMALL, f"outputs={tmp_path / 'out'}", f"store={tmp_path / 'store'}")


def config(words: tuple[str, ...], *more: str) -> dict[str, Any]:
    return frozen(composed("evaluate", (*words, *more)))


def run(words: tuple[str, ...], *more: str) -> Path:
    asked = config(words, *more)
    assert evaluate.main(asked) == 0
    made = evaluate.request(asked)
    return made.folder(next(iter(made.tasks)))


def test_figures_samples_and_what_is_shown(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run(words)
    found = read_result(folder)
    assert {k: round(e.value, 6) for k, e in found.figures.items() if "tokens" not in k} == {
        f"{mode}/{name}": value for mode in ("thinking", "nothinking") for name, value in
        (("avg@2", 0.5), ("pass@2", 1.0), ("maj@2", 0.5), ("unclosed", 0), ("truncated", 0),
         ("no_answer", 0))
    }  # fmt: skip
    assert (found.task, found.model, found.step) == ("arithmetic", "tiny", None)
    assert len((folder / "samples.jsonl").read_text().splitlines()) == 24
    assert folder.name.startswith("tiny-arithmetic-s0-")
    assert read_manifest(folder)["status"] == "finished"
    said = capsys.readouterr().out
    for part in (
        "arithmetic: tiny",
        "avg@2",
        "50.0 [",
        "n ",
        "100.0 [54.1, 100.0]",  # six alike are no certainty
        str(folder),
    ):
        assert part in said
    assert "power:" not in said


def test_a_second_call_makes_nothing(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run(words)
    first = capsys.readouterr().out
    monkeypatch.setattr("bvrank.commands.policies.load", None)
    assert run(words) == folder
    again = capsys.readouterr()
    assert again.out == first and "finished before" in again.err


def test_one_that_was_stopped_goes_on_to_the_same_figures(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = (run(words) / "result.json").read_bytes()

    def stopping(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(BaseException, match="stopped") as stop:
        patched.setattr("bvrank.rewards.arithmetic.Arithmetic.scores", stopping)
        run(words, "force=true")
    assert "The same command goes on." in str(stop.value)
    monkeypatch.setattr("bvrank.sampling.local.sampled", None)
    assert (run(words) / "result.json").read_bytes() == whole


def test_force_measures_again(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = run(words)
    saying(monkeypatch, lambda answer, thinking, turn: usual(answer, thinking, 1))
    assert run(words, "force=true") == folder
    assert read_result(folder).figures["thinking/avg@2"].value == 1.0
    assert len(list(folder.parent.iterdir())) == 2


@pytest.mark.parametrize(
    "word", ["seed=1", "n=1", "limit=3", "modes=[thinking]", "sampler.top_p=0.5", "task.maj=false",
             "task.prompts.seed=1", "precision=bf16", "model.layers=2"],
)  # fmt: skip
def test_other_settings_are_another_folder(word: str, words: tuple[str, ...]) -> None:
    more = ("task.pass_at=[]",) if word == "n=1" else ()
    one, other = (evaluate.request(config(words, *more, *w)).folder("arithmetic")
                  for w in ((), (word,)))  # fmt: skip
    assert one != other


def test_a_result_tells_how_it_was_measured(words: tuple[str, ...]) -> None:
    """By the task's node, template and precision; not by how requests go their way."""
    found = read_result(run(words)).settings
    assert found["task"]["prompts"]["problems"] == 6 and found["precision"] == "fp32"
    assert found["template"]["date"] == "2024-07-26" and found["data"] == {}
    judged = ("task=alpaca_eval", "task.path=x", "judge=openai", "judge.server.model=j")
    facts = [evaluate._facts(evaluate.request(config(judged, *more)), "alpaca_eval") for more in
             ((), ("judge.server.concurrency=2", "judge.server.base_url=http://x/v1",
                   "judge.max_failed=0.5"), ("task.prompt='{instruction} {output_1} {output_2}'",),
              ("judge.server.model=k",))]  # fmt: skip
    assert facts[0] == facts[1] and facts[2] != facts[0] != facts[3]
    assert facts[3]["settings"]["task"]["judge"]["server"]["model"] == "k"


def test_a_result_keeps_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "k" * 40)
    words = ("task=alpaca_eval", "task.path=x", "judge=openai", "judge.server.model=j",
             f"+judge.server.extra_body.user={'k' * 40}")  # fmt: skip
    told = json.dumps(evaluate._facts(evaluate.request(config(words)), "alpaca_eval"))
    assert "extra_body" in told and "k" * 40 not in told


@pytest.mark.parametrize("word", ["store=elsewhere", "force=true", "trusted=[x]"])
def test_what_decides_nothing_is_the_same_folder(word: str, words: tuple[str, ...]) -> None:
    one, other = (evaluate.request(config(words, *w)).folder("arithmetic") for w in ((), (word,)))
    assert one == other


def test_several_tasks_in_one_go(
    words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "p.jsonl", [{"problem": "1+2=?", "answer": "3"}])
    other = [f"tasks.aime24.{key}" for key in
             (f"prompts.path={path}", "prompts.split=null",
              "template='{prompt}'")]  # fmt: skip
    small = ["tasks.arithmetic.prompts.problems=4", "n=2"]
    own = tuple(w for w in words if not w.startswith("task."))
    asked = config(own, "suite=[arithmetic,aime24]", *map(opened, other + small))
    assert evaluate.main(asked) == 0
    said = capsys.readouterr().out
    assert said.index("arithmetic: tiny") < said.index("aime24: tiny")
    for k in (8, 32):
        assert f"note: pass@2 in place of the task's own pass@{k}, as n=2" in said
    made = evaluate.request(asked)
    found = {name: read_result(made.folder(name)).figures for name in made.tasks}
    assert found["arithmetic"]["thinking/avg@2"].prompts == 4
    assert found["aime24"]["thinking/avg@2"].prompts == 1


def test_a_sweep_is_told_the_headlines(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BVRANK_OUTCOME", str(tmp_path / "outcome"))
    for status in ("done", "skipped"):
        folder = run(words)
        assert json.loads((tmp_path / "outcome").read_text()) == {
            "status": status, "folder": str(folder),
            "headline": {"arithmetic thinking avg@2": 0.5, "arithmetic nothinking avg@2": 0.5},
        }  # fmt: skip


@pytest.mark.parametrize(
    ("word", "said"),
    [("suite=maths", "suite: there is no suite 'maths'. Did you mean 'math'"),
     ("suite=[aime23]", "suite: there is no task 'aime23'. Did you mean 'aime2"),
     ("suite=[]", "suite: there is no task"), ("suite=[gsm8k,gsm8k]", "suite: names a task twice"),
     ("++tasks.gsm8k.n=2", "tasks: has no effect without a suite"),
     ("n=0", "n: must be at least 1"), ("limit=0", "limit: must be"), ("modes=[]", "modes: must"),
     ("seed=-1", "seed: must be"), ("outputs=''", "outputs: must name"), ("modes=[plain]", "modes"),
     ("n=1", "task.pass_at: pass@2 needs 2 responses"),
     ("task.pass_at=[3]", "task.pass_at: pass@3 needs 3 responses, and n=2 of them"),
     ("task.pass_at=[2,2]", "task.pass_at: must be numbers from 1 on, each once"),
     ("suite=arithmetic", "suite: there is no suite 'arithmetic'. It is a task: task=arithmetic"),
     ("task.n=0", "task.n: must be at least 1"), ("checkpoint=last", "checkpoint"),
     ("run=nowhere", "nowhere: is not a run folder")],
)  # fmt: skip
def test_settings_that_cannot_be(words: tuple[str, ...], word: str, said: str) -> None:
    with pytest.raises(Exception, match=said) as stop:
        evaluate.main(config(words, word))
    assert getattr(stop.value, "exit_code", None) == 2
    assert not Path(config(words)["outputs"]).exists()


@pytest.mark.parametrize(
    ("task", "word", "said"),
    [("preference", "task.reference=strt", "task.reference: 'strt' is no folder.* mean 'start'"),
     ("preference", "task.reference=strat", "mean 'start'"),
     ("preference", "task.n=0", "n: has no effect: no response is drawn"),
     ("ranking", "task.audit=0", "n: has no effect: no response is drawn")],
)  # fmt: skip
def test_what_means_nothing_to_a_task(
    words: tuple[str, ...], task: str, word: str, said: str
) -> None:
    own = tuple(w for w in words if not w.startswith("task."))
    path = "task.pairs.path=x" if task == "preference" else "task.lists.path=x"
    with pytest.raises(ConfigError, match=said):
        evaluate.request(config(own, f"task={task}", path, word, "n=4"))


def test_n_of_a_suite_is_for_those_who_draw(words: tuple[str, ...]) -> None:
    own = tuple(w for w in words if not w.startswith("task."))
    suite = ("suite=[arithmetic,preference]", "++tasks.preference.pairs.path=x",
             "++tasks.preference.n=0")  # fmt: skip
    some, other = (evaluate.request(config(own, *suite, *n)) for n in ((), ("n=4",)))
    assert other.kept("arithmetic")["n"] == 4
    assert some.kept("preference") == other.kept("preference")


def test_random_weights_are_not_measured(words: tuple[str, ...]) -> None:
    bare = tuple(w for w in words if not w.startswith("model."))
    with pytest.raises(ConfigError, match="model: has random weights"):
        evaluate.main(config(bare, "model=scratch"))


@pytest.mark.parametrize("adapter", [(), ("model.lora.r=2", "model.lora.dropout=0.1")])
def test_the_policy_of_a_run_is_measured_in_its_folder(
    adapter: tuple[str, ...], words: tuple[str, ...], tmp_path: Path
) -> None:
    rows = write(tmp_path / "pairs.jsonl", pair_rows())
    asked = (*TINY, *QUICK, *adapter, "objective=dpo", "data=pairs", f"data.path={rows}",
             "checkpoint.every=1", f"outputs={tmp_path / 'runs'}", *words[-1:])  # fmt: skip
    assert train.main(frozen(composed("train", asked))) == 0
    (place,) = (tmp_path / "runs").iterdir()
    with pytest.raises(ConfigError, match=r"model\.hidden_size: has no effect beside run="):
        run(words, f"run={place}")
    words = tuple(w for w in words if not w.startswith("model."))
    for which, step in (("final", 2), ("1", 1)):
        folder = run(words, f"run={place}", f"checkpoint={which}")
        assert folder.parent == place / "evals"
        assert folder.name.startswith(f"arithmetic@{step:06d}-s0-")
        assert read_result(folder).step == step
    with pytest.raises(ConfigError, match=r"no checkpoint 7.*final and 1, 2"):
        run(words, f"run={place}", "checkpoint=7")


def test_a_policy_is_its_weights_wherever_it_was_loaded_from(tmp_path: Path) -> None:
    for name, text in (("a", "1"), ("b", "1"), ("c", "2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_text(text)

    def policy(name: str, step: int | None = None, **more: Any) -> str:
        node = {"_target_": "bvrank.models.hf.HF", "path": str(tmp_path / name), **more}
        return evaluate._policy_of(Subject(node, name, step=step), {})

    same = policy("a", attention="sdpa")
    assert same == policy("a", 45, attention="eager")
    assert same != policy("c", attention="sdpa") != policy("a", lora={"r": 4})


def test_a_served_policy_is_what_its_server_calls_it(tmp_path: Path) -> None:
    """Wherever that is: one model behind two ports is one policy, and no two training runs."""
    served = ("task=arithmetic", "sampler=openai")
    told = []
    for word in ("base_url=http://a/v1", "base_url=http://b/v1", "concurrency=2"):
        asked = evaluate.request(config(served, "sampler.server.model=m", f"sampler.server.{word}"))
        told.append(evaluate._facts(asked, "arithmetic"))
    assert len({facts["policy"] for facts in told}) == 1
    assert method(told[0]["settings"]) == method(told[1]["settings"])
    assert [address_of(facts["settings"]) for facts in told[:2]] == ["http://a/v1", "http://b/v1"]
    other = evaluate.request(config(served, "sampler.server.model=k"))
    assert evaluate._facts(other, "arithmetic")["policy"] != told[0]["policy"]


def test_less_that_may_stay_away_than_did_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a finished evaluation, by a server of the policy or of the judge."""
    asked: dict[str, list[str]] = {"m": [], "j": []}
    down = {"m", "j"}

    def complete(server: Any, requests: Iterable[Request], **_: Any) -> Iterator[Any]:
        for number, request in enumerate(requests):
            asked[server.model].append(request.key)
            if server.model in down and number == 3:
                yield Failure(request.key, "timeout", "late", 1)
            else:
                yield Reply(request.key, "m", None, "stop", 5, 9, "m", None, 1, 0.1)

    for place in ("sampling.served", "evaluation.judging"):
        monkeypatch.setattr(f"bvrank.{place}.complete", complete)
    rows = [{"dataset": "d", "instruction": f"task {i}", "output": f"base {i}",
             "generator": "base"} for i in range(20)]  # fmt: skip
    (tmp_path / "base.json").write_text(json.dumps(rows))
    usual = ("task=alpaca_eval", f"task.path={tmp_path / 'base.json'}", "task.weighted=false",
             "judge=openai", "judge.server.model=j", "sampler=openai", "sampler.server.model=m",
             "modes=[nothinking]", f"outputs={tmp_path / 'o'}",
             f"store={tmp_path / 's'}")  # fmt: skip
    lenient, limits = {"m": 0.05, "j": 0.06}, {"m": "sampler", "j": "judge"}

    def again(**strict: float) -> dict[str, int]:
        for keys in asked.values():
            keys.clear()
        now = {**lenient, **strict}
        run(usual, *(f"{limits[name]}.max_failed={share}" for name, share in now.items()))
        return {name: len(keys) for name, keys in asked.items()}

    assert again() == {"m": 20, "j": 19}
    folder = run(usual, *(f"{limits[name]}.max_failed={lenient[name]}" for name in lenient))
    told = {"sampler": {"share": 1 / 20, "allowed": 0.05},
            "judge": {"share": 1 / 19, "allowed": 0.06}}  # fmt: skip
    assert read_manifest(folder)["away"] == told
    assert again() == {"m": 0, "j": 0} == again(m=0.5)
    down.clear()
    assert again(j=0.01) == {"m": 1, "j": 2}  # who goes on asks for all that did not come
    assert read_manifest(folder)["away"]["judge"] == {"share": 0.0, "allowed": 0.01}
    assert read_result(folder).figures["nothinking/win_rate"].prompts == 20
    assert again(j=0.0, m=0.0) == {"m": 0, "j": 0}
