"""What `bvrank sample` is asked for: refused before anything is loaded, and named by content."""

from __future__ import annotations

from pathlib import Path

import pytest

from bvrank.commands import sample
from bvrank.commands.compose import composed, frozen
from bvrank.errors import ConfigError
from tests.commands.test_sample import config, words
from tests.sampling.test_vllm import Stand, stand

__all__ = ["Stand", "stand", "words"]  # fixtures


@pytest.mark.parametrize(
    ("word", "said"),
    [("n=1", "n: must be at least 2"), ("modes=[]", "modes: must name"),
     ("modes=[thinking,thinking]", "modes: must name"), ("formats=[csv]", "formats"),
     ("select.margin=-1", "select.margin: must be at least 0"), ("check.rows=-1", "check.rows"),
     ("sampler.temperature=0", "sampler.temperature: 0 draws the same response 4 times"),
     ("sampler.top_p=0", "sampler.top_p: must lie in"), ("outputs=''", "outputs: must name"),
     ("prompts.problems=0", "prompts.problems: must be at least 1"),
     ("reward=recorded", r"reward: wants responses that bring a score.*score_column=")],
)  # fmt: skip
def test_settings_that_cannot_be(words: tuple[str, ...], word: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        sample.main(config(words, word))
    assert not Path(config(words)["outputs"]).exists()


def test_an_edited_reward_is_another_folder(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ownreward.py").write_text(
        "def score(rows):\n    return [len(r['answer']) for r in rows]"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    own = (*words, "reward=python", "reward.function=ownreward.score", "trusted=[ownreward]")
    before = sample.request(config(own))
    (tmp_path / "ownreward.py").write_text("def score(rows):\n    return [1.0 for r in rows]")
    assert sample.request(config(own)).folder != before.folder


def test_a_server_asked_more_patiently_is_the_same_folder() -> None:
    served = ("sampler=openai", "sampler.server.model=m")
    names = {
        word: sample.request(config((*served, *word))).name
        for word in [(), ("sampler.server.timeout=9",), ("sampler.max_failed=0.5",),
                     ("sampler.temperature=0.1",)]
    }  # fmt: skip
    assert len(set(names.values())) == 2 and names[()] != names["sampler.temperature=0.1",]


def test_recorded_responses_want_a_file() -> None:
    with pytest.raises(ConfigError, match=r"sampler.path: needs the file.* prompts=file prompts"):
        sample.main(frozen(composed("sample", ("sampler=recorded",))))


def test_recorded_responses_are_of_one_mode(tmp_path: Path) -> None:
    words = ("prompts=file", "prompts.path=x.jsonl", "sampler=recorded", "sampler.score_column=s",
             "reward=recorded", f"outputs={tmp_path}")  # fmt: skip
    with pytest.raises(ConfigError, match=r"modes: .* of one mode.* Write modes=\[thinking\]\."):
        sample.main(config(words))


def test_vllm_shares_the_gpus_itself(words: tuple[str, ...], stand: Stand) -> None:
    kept = tuple(w for w in words if not w.startswith(("model.", "sampler.")))
    asked = (*kept, "model=hf", "model.path=some/model", "sampler=vllm")
    sample.request(config(asked))
    with pytest.raises(ConfigError, match=r"launcher\.processes: is 2, but vLLM"):
        sample.request(config(asked, "launcher.processes=2"))
