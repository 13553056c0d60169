"""The node of sampler=vllm: a model folder served by vLLM in this process. The only file that
imports vllm, and only when it draws.

Every response is a request of its own, with ids for a prompt and a seed for its draws, so that a
run that goes on draws what it would have drawn; vLLM promises that for one version on one machine.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from bvrank.errors import ConfigError, ModelError
from bvrank.records import Mode
from bvrank.sampling.local import Templated, Work, check_drawing, drawn, made_of
from bvrank.sampling.responses import Made, Prompt
from bvrank.sampling.transformers import Sample


@dataclass(frozen=True)
class Vllm:
    """How vLLM draws, and with how much of the machine. `requests` are handed over together;
    `tensor_parallel` GPUs share the model.

    ConfigError when the package is missing or a number is out of range.
    """

    temperature: float = 0.6
    top_p: float = 0.95
    max_new_tokens: int = 4096
    requests: int = 512
    tensor_parallel: int = 1
    memory: float = 0.9
    needs_model = True
    one_process: ClassVar[bool] = True  # of a machine: tensor_parallel is how GPUs are shared

    def __post_init__(self) -> None:
        check_drawing(self.temperature, self.top_p, self.max_new_tokens)
        for name in ("requests", "tensor_parallel"):
            if getattr(self, name) < 1:
                raise ConfigError(f"must be at least 1, got {getattr(self, name)}", where=name)
        if not 0 < self.memory <= 1:
            raise ConfigError(f"must lie in (0, 1], got {self.memory}", where="memory")
        if importlib.util.find_spec("vllm") is None:
            raise ConfigError(
                "the package vllm is not installed",
                repair="pip install 'bvrank[vllm]', or sampler=transformers.",
            )

    def generator(self, policy: Any) -> Engine:
        """What draws from the policy's folder. ModelError when it has none, ConfigError for an
        adapter, which the folder does not hold."""
        if policy.path is None:
            raise ModelError("vLLM reads a model folder or hub id, and this model is none",
                             where="sampler", repair="Set model=hf model.path=...")  # fmt: skip
        lora = getattr(policy.asked.model, "lora", None)
        if lora is not None and lora.on:
            raise ConfigError("vLLM would draw from the model without its adapter",
                              where="model.lora",
                              repair="Write sampler=transformers, or merge the adapter into a "
                              "folder of its own.")  # fmt: skip
        return Engine(self, policy)


class Engine(Templated):
    """Makes responses with vLLM, which is started at the first one."""

    def __init__(self, how: Vllm, policy: Any) -> None:
        super().__init__(policy.template, policy.positions, how.max_new_tokens)
        self.how, self.policy = how, policy
        self._model: Any = None

    def responses(self, work: Work, mode: Mode, known: Container[Any], rank: int, world: int
                  ) -> Iterator[list[Made]]:  # fmt: skip
        """This rank's responses that are not known, `how.requests` at a time."""
        wanted = [
            (prompt, copy) for prompt in work.prompts[rank::world] for copy in range(work.n)
            if (mode, prompt.row, copy) not in known
        ]  # fmt: skip
        for at in range(0, len(wanted), self.how.requests):
            part = wanted[at : at + self.how.requests]
            found = drawn(self._samples(work, mode, part), self.template, mode)
            yield [made_of(work, mode, *key, d) for key, d in zip(part, found, strict=True)]

    def close(self) -> None:
        """Lets the GPU's memory go."""
        self._model = None

    def _samples(self, work: Work, mode: Mode, part: Sequence[tuple[Prompt, int]]
                 ) -> list[Sample]:  # fmt: skip
        from vllm import SamplingParams

        how = [
            SamplingParams(
                n=1, temperature=self.how.temperature, top_p=self.how.top_p,
                max_tokens=self.how.max_new_tokens, stop_token_ids=[self.template.end_id],
                seed=seed_of(work.stream(mode), prompt.row, copy), logprobs=0, detokenize=False,
            ) for prompt, copy in part
        ]  # fmt: skip
        prompts = [{"prompt_token_ids": i} for i in self.ids([p for p, _ in part], mode)]
        found = self._started(work.seed).generate(prompts, how, use_tqdm=False)
        return [self._sample(request.outputs[0]) for request in found]

    def _sample(self, output: Any) -> Sample:
        ids = tuple(output.token_ids)
        ended = output.finish_reason == "stop"
        if ended and ids[-1:] != (self.template.end_id,):
            ids = (*ids, self.template.end_id)
        return Sample(ids, float(output.cumulative_logprob), ended)

    def _started(self, seed: int) -> Any:
        from vllm import LLM

        if self._model is None:
            self._model = LLM(
                model=self.policy.path, revision=self.policy.revision, seed=seed % 2**31,
                dtype="bfloat16" if self.policy.narrow else "float32",
                tensor_parallel_size=self.how.tensor_parallel,
                gpu_memory_utilization=self.how.memory, trust_remote_code=False,
                logprobs_mode="raw_logprobs",  # at temperature 1, as the scorer computes them
            )  # fmt: skip
        return self._model


def seed_of(stream: int, row: int, copy: int) -> int:
    """31 bits for a response: a function of nothing but what it is."""
    digest = hashlib.blake2b(f"{stream}|{row}|{copy}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") >> 1
