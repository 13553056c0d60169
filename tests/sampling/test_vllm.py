"""What vLLM is asked for and what is made of its answers; a stand-in has its place."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest

from bvrank.errors import ConfigError, ModelError
from bvrank.models.hf import HF
from bvrank.models.lora import LoRA
from bvrank.sampling.local import Work
from bvrank.sampling.prompts import Arithmetic
from bvrank.sampling.responses import MODES, Made, Prompt
from bvrank.sampling.vllm import Vllm, seed_of
from tests.sampling.saying import TEMPLATE, TOKENIZER

PROMPTS = [p for p in Arithmetic(5, 0).prompts() if isinstance(p, Prompt)]
POLICY = SimpleNamespace(path="some-model", revision=None, template=TEMPLATE, positions=1000,
                         narrow=True, asked=SimpleNamespace(model=HF("some-model")))  # fmt: skip


class Stand:
    """vllm.LLM, as far as it is used: each answer says which seed it was drawn with."""

    made: ClassVar[list[dict[str, Any]]] = []
    asked: ClassVar[list[tuple[list[int], SimpleNamespace]]] = []

    def __init__(self, **how: Any) -> None:
        self.made.append(how)

    def generate(self, prompts: Any, how: Any, *, use_tqdm: bool) -> list[SimpleNamespace]:
        out = []
        for prompt, params in zip(prompts, how, strict=True):
            ids = prompt["prompt_token_ids"]
            self.asked.append((ids, params))
            text = f"<think>\nt\n</think>\n\n{params.seed}"
            cut = params.seed % 3 == 0
            tokens = TOKENIZER(text)["input_ids"][: 5 if cut else None]
            out.append(SimpleNamespace(outputs=[SimpleNamespace(
                token_ids=tokens if cut else [*tokens, TEMPLATE.end_id],
                finish_reason="length" if cut else "stop", cumulative_logprob=-2.5,
            )]))  # fmt: skip
        return out


@pytest.fixture
def stand(monkeypatch: pytest.MonkeyPatch) -> type[Stand]:
    module = ModuleType("vllm")
    module.__spec__ = importlib.machinery.ModuleSpec("vllm", None)
    module.LLM, module.SamplingParams = Stand, SimpleNamespace  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", module)
    Stand.made, Stand.asked = [], []
    return Stand


def made(known: Any = (), world: int = 1) -> list[Made]:
    engine, work = Vllm(requests=4).generator(POLICY), Work(PROMPTS, MODES, 3, 7, checked={(1, 2)})
    return [m for mode in MODES for rank in range(world)
            for part in engine.responses(work, mode, known, rank, world) for m in part]  # fmt: skip


def test_every_response_is_one_request_with_a_seed_of_its_own(stand: type[Stand]) -> None:
    found = made()
    assert len(found) == 30 and len({m.key for m in found}) == 30
    seeds = [params.seed for _, params in stand.asked]
    assert len(set(seeds)) == 30 and all(0 <= s < 2**31 for s in seeds)
    for (ids, params), m in zip(stand.asked, found, strict=True):
        front = TEMPLATE.prompt_text(PROMPTS[m.row].messages, m.mode)
        assert TOKENIZER.decode(ids) == front
        assert params.stop_token_ids == [TEMPLATE.end_id] and params.n == 1
        stream = Work(PROMPTS, MODES, 3, 7).stream(m.mode)
        assert params.seed == seed_of(stream, m.row, m.copy)
        assert m.end == ("length" if params.seed % 3 == 0 else "stop")
        if m.end == "stop":
            assert m.answer == str(params.seed) or m.mode == "nothinking"
    assert {m.key[1:] for m in found if m.ids is not None} == {(1, 2)}
    (how,) = stand.made  # started once
    assert how["model"] == "some-model" and how["dtype"] == "bfloat16"
    assert how["trust_remote_code"] is False and how["logprobs_mode"] == "raw_logprobs"


def test_what_is_known_is_not_asked_for_and_ranks_share(stand: type[Stand]) -> None:
    whole = made()
    stand.asked.clear()
    known = {m.key for m in whole[::2]}
    assert made(known) == whole[1::2] and len(stand.asked) == 15
    assert sorted(m.key for m in made(world=2)) == sorted(m.key for m in whole)


def test_a_model_that_is_made_has_no_folder(stand: type[Stand]) -> None:
    with pytest.raises(ModelError, match="model=hf"):
        Vllm().generator(SimpleNamespace(path=None))


def test_an_adapter_is_refused(stand: type[Stand]) -> None:
    for lora in (LoRA(r=2), LoRA(r=1, alpha=2.0)):
        policy = SimpleNamespace(path="p", asked=SimpleNamespace(model=HF("p", lora=lora)))
        with pytest.raises(ConfigError, match=r"^model\.lora: .*without its adapter.*transformers"):
            Vllm().generator(policy)
    assert Vllm.one_process


@pytest.mark.parametrize(("name", "value"), [("requests", 0), ("tensor_parallel", 0),
                                             ("memory", 0.0), ("top_p", 2.0)])  # fmt: skip
def test_settings_out_of_range(stand: type[Stand], name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{name}: must"):
        Vllm(**{name: value})


def test_the_package_is_named_where_it_is_missing() -> None:
    if "vllm" not in sys.modules and importlib.util.find_spec("vllm") is None:
        with pytest.raises(ConfigError, match=r"bvrank\[vllm\]"):
            Vllm()
