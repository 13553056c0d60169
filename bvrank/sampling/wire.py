"""/v1/chat/completions as JSON: the body of a request, and what a reply says, whole or in pieces.

Nothing is taken for granted of a reply: what cannot be used raises `Unusable`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bvrank.sampling.chat import Request
from bvrank.sampling.responses import mended

OURS = ("model", "messages", "n", "stream", "temperature", "top_p", "max_tokens",
        "max_completion_tokens", "stop", "seed")  # fmt: skip
_BROKEN = ("error", "abort")  # ways to end that are no response


class Unusable(Exception):
    """A reply of which nothing can be made; `status` is what the server says went wrong."""

    def __init__(self, reason: str, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.reason, self.status = reason, status


@dataclass(frozen=True)
class Said:
    """What one reply says."""

    content: str
    reasoning: str | None
    finish_reason: str
    prompt_tokens: int | None
    completion_tokens: int | None
    model: str
    first: Mapping[str, float] | None = None  # log-probs of what could have been the first token


def body_of(request: Request, fixed: Mapping[str, Any], added: Mapping[str, Any],
            limit: str) -> dict[str, Any]:  # fmt: skip
    """The request as it is sent: `fixed` and `added` with it; `limit` is the name of max_tokens."""
    asked = request.decoding
    body = {
        "messages": [{"role": m.role, "content": m.content} for m in request.messages],
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        limit: asked.max_tokens,
        "stop": list(asked.stop) or None,
        "seed": request.seed,
    }
    return merged(merged({k: v for k, v in body.items() if v is not None}, fixed), added)


def merged(into: Mapping[str, Any], added: Mapping[str, Any]) -> dict[str, Any]:
    """Both, mappings within them merged in turn; `added` wins."""
    out = dict(into)
    for key, value in added.items():
        old = out.get(key)
        nested = isinstance(old, Mapping) and isinstance(value, Mapping)
        out[key] = merged(_mapping(old), value) if nested else value
    return out


def whole(raw: object) -> Said:
    """The reply that came in one piece."""
    pieces = Pieces()
    pieces.add(raw, "message")
    return pieces.said()


@dataclass
class Pieces:
    """A reply that is put together from the chunks of a stream."""

    content: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    finish_reason: str = ""
    usage: Mapping[str, Any] = field(default_factory=dict)
    model: str = ""
    seen: bool = False
    first: Mapping[str, float] | None = None

    def add(self, raw: object, part: str = "delta") -> None:
        """One chunk; Unusable when it is none."""
        if not isinstance(raw, Mapping):
            raise Unusable("garbage", f"the reply is no JSON object but {str(raw)[:80]!r}")
        if raw.get("error"):
            raise Unusable("server_error", *_error(raw["error"]))
        self.model = str(raw.get("model") or self.model)
        self.usage = _mapping(raw.get("usage")) or self.usage
        choices = raw.get("choices")
        if not isinstance(choices, list) or not choices:
            return  # of a stream: the chunk that holds the usage
        choice = _mapping(choices[0])
        said = _mapping(choice.get(part))
        self.seen = self.seen or bool(said)
        self.first = self.first or _alternatives(choice.get("logprobs"))
        self.content.append(_text(said.get("content")))
        self.reasoning.append(_text(said.get("reasoning_content") or said.get("reasoning")))
        self.finish_reason = _text(choice.get("finish_reason")) or self.finish_reason

    def said(self) -> Said:
        """All of it; Unusable when it did not come to an end."""
        if not self.seen and not self.finish_reason:
            raise Unusable("empty", "the reply holds no choice")
        if not self.finish_reason:
            raise Unusable("cut", "the reply ended without a finish_reason")
        if self.finish_reason in _BROKEN:
            raise Unusable("cut", f"the reply ended with finish_reason={self.finish_reason}")
        return Said(
            mended("".join(self.content)),
            mended("".join(self.reasoning)) or None,
            self.finish_reason,
            _count(self.usage.get("prompt_tokens")),
            _count(self.usage.get("completion_tokens")),
            self.model,
            self.first,
        )


def _alternatives(logprobs: object) -> dict[str, float] | None:
    """Token -> log-prob, of the first token that `logprobs` tells of."""
    content = _mapping(logprobs).get("content")
    told = _mapping(content[0]).get("top_logprobs") if isinstance(content, list) and content else ()
    found = map(_mapping, told if isinstance(told, list) else ())
    return {str(t["token"]): float(t["logprob"]) for t in found
            if "token" in t and isinstance(t.get("logprob"), int | float)} or None  # fmt: skip


def _error(error: object) -> tuple[str, int | None]:
    """Message and status of the error object that stands where a reply should."""
    told = _mapping(error)
    status = _count(told.get("code")) or _count(told.get("status"))
    return str(told.get("message") or error), status if status and 400 <= status < 600 else None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
