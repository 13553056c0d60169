"""What every task is given."""

from __future__ import annotations

from pathlib import Path

import pytest

from bvrank.errors import DataError
from bvrank.evaluation.desk import Desk
from tests.evaluation.test_answers import Sampler, Source


def desk(folder: Path, limit: int | None = None) -> Desk:
    return Desk(folder, ("thinking", "nothinking"), 0, Sampler(), limit=limit)


def test_prompts_up_to_the_limit(tmp_path: Path) -> None:
    assert [p.where for p in desk(tmp_path, 1).prompts(Source())[0]] == ["a:1"]
    kept, refused = desk(tmp_path).prompts(Source())
    assert [p.where for p in kept] == ["a:1", "a:2"] and [r.where for r in refused] == ["a:9"]


def test_no_prompt_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no prompt; first a:9: no prompt"):
        desk(tmp_path).prompts(Source(()))


def test_a_folder_below_holds_responses_of_its_own(tmp_path: Path) -> None:
    here = desk(tmp_path)
    prompts, _ = here.prompts(Source())
    for place in (here, here.within("x"), here.within("x")):
        made, unfit = place.respond(prompts, 2)
        assert len(made) == 8 and not unfit
    assert (tmp_path / "x" / "responses-00000.jsonl").is_file()
    assert len(here.sampler.seen) == 16
