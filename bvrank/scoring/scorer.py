"""The scorer: a language model and its head as one module, from token rows to log pi(candidate)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor, nn

from bvrank.errors import ModelError
from bvrank.records import TokenBatch, TokenRows
from bvrank.scoring.attention import Sight
from bvrank.scoring.layout import Cost, Layout, Packing
from bvrank.scoring.logprobs import dense_logprobs, is_plain, linear_logprobs, token_logprobs
from bvrank.scoring.precision import exact

CALL = 1.5e6  # multiply-adds that take as long as what a call of attention costs beside them


class Scorer(nn.Module):
    """log pi of every candidate of a batch, float64 [V,B,K], summed over its scored tokens.

    Engines wrap this module, so that under parameter sharding no weight is used outside its
    forward. `chunk` is the number of scored tokens that pass the head at a time; None: all of them,
    and nothing is computed again in backward, so that torch.func can differentiate and map it.
    """

    def __init__(self, model: Any, *, chunk: int | None = 1024) -> None:
        super().__init__()
        self.model = model
        self.chunk = chunk

    def forward(self, batch: TokenBatch, parts: Sequence[int] = ()) -> Tensor:
        """Log-probs [V,B,K]; 0 where a candidate is absent.

        `parts`: for each of `batch.rows`, into how many chunks its scored tokens go at least.
        """
        shape = batch.labels.valid.shape
        # Part of the graph even when no row has a wanted view, so that a backward pass can run.
        flat = torch.zeros(
            shape.numel(), dtype=torch.float64, device=batch.labels.valid.device,
            requires_grad=torch.is_grad_enabled(),
        )  # fmt: skip
        for rows, least in zip_longest(batch.rows, parts, fillvalue=0):
            assert isinstance(rows, TokenRows)
            flat = flat.index_add(0, rows.owner, self.tokens(rows, least).double())
        return flat.view(shape)

    def tokens(self, rows: TokenRows, parts: int = 0) -> Tensor:
        """Log-probs [M] of the scored tokens of `rows`, by way of `parts` chunks at least."""
        causal, seen = causal_lm(self.model), self._seen(rows)
        with exact(self._dtype()):
            hidden = causal.base_model(
                input_ids=rows.ids,
                position_ids=rows.position if rows.sees is not None else None,
                use_cache=False,
                **seen,
            ).last_hidden_state
        if "sight" in seen:
            self._check_asked(seen["sight"].windows)
        picked = hidden.flatten(0, 1).index_select(0, rows.source)  # [M,H]
        head = causal.get_output_embeddings()
        if self.chunk is None:
            return dense_logprobs(picked, rows.target, self._logits)
        if is_plain(head) and not self._cap():
            return linear_logprobs(picked, rows.target, head, chunk=self.chunk)
        return token_logprobs(picked, rows.target, self._logits, chunk=self.chunk, parts=parts)

    def _logits(self, hidden: Tensor) -> Tensor:
        logits = causal_lm(self.model).get_output_embeddings()(hidden)
        cap = self._cap()
        capped: Tensor = torch.tanh(logits / cap) * cap if cap else logits
        return capped

    def _cap(self) -> float | None:
        return getattr(text_config(self.model), "final_logit_softcapping", None)

    def _seen(self, rows: TokenRows) -> dict[str, Any]:
        """What tells the attention layers which token sees which; nothing for causal rows."""
        if rows.sees is None:
            return {"attention_mask": None}
        sliding_window(text_config(self.model))  # refuses layers that follow no tree
        if not rows.blocks and rows.until is None:
            return {"attention_mask": self._mask(rows)}
        if text_config(self.model)._attn_implementation != "sdpa":
            raise ModelError("blocks are for attention by sdpa", where="model.attention",
                             repair="Set scoring.layout=masked.")  # fmt: skip
        # With a mask of four axes transformers makes none of its own. No block reads it.
        unread = rows.ids.new_zeros((1, 1, 1, 1), dtype=torch.bool)
        kinds = set(getattr(text_config(self.model), "layer_types", None) or [])
        mask = dict.fromkeys(kinds, unread) if "sliding_attention" in kinds else unread
        return {"attention_mask": mask, "sight": Sight(rows)}

    def _check_asked(self, windows: set[int | None]) -> None:
        """ModelError unless the layers asked for what they may see: some families say their window
        by the mask alone, and some have an attention of their own; both would see too much."""
        window = sliding_window(text_config(self.model))
        if not windows or (window is not None and window not in windows):
            what = "its attention asks for no blocks" if not windows else (
                f"its attention does not say its window of {window} tokens"
            )  # fmt: skip
            raise ModelError(what, where="model", repair="Set scoring.layout=masked.")

    def _mask(self, rows: TokenRows) -> Any:
        """An additive float mask [N,1,T,T] (a boolean one is silently wrong with eager attention),
        one per layer type."""
        config, dtype = text_config(self.model), self._mask_dtype()
        full = visible(rows)
        window = sliding_window(config)
        if window is None:
            return _additive(full, dtype)
        near = rows.position.unsqueeze(-1) - rows.position.unsqueeze(-2) < window
        if "full_attention" not in (getattr(config, "layer_types", None) or []):
            return _additive(full & near, dtype)
        return {
            "full_attention": _additive(full, dtype),
            "sliding_attention": _additive(full & near, dtype),
        }

    def _mask_dtype(self) -> torch.dtype:
        if torch.is_autocast_enabled(self._device_type()):
            return torch.get_autocast_dtype(self._device_type())
        return self._dtype()

    def _dtype(self) -> torch.dtype:
        return causal_lm(self.model).get_input_embeddings().weight.dtype  # type: ignore[no-any-return]

    def _device_type(self) -> str:
        return next(self.model.parameters()).device.type  # type: ignore[no-any-return]


def visible(rows: TokenRows) -> Tensor:
    """bool [N,T,T]: may token t attend to token u."""
    assert rows.sees is not None
    n, t = rows.segment.shape
    by_segment = rows.sees.gather(1, rows.segment.unsqueeze(-1).expand(n, t, rows.sees.shape[-1]))
    seen = by_segment.gather(2, rows.segment.unsqueeze(1).expand(n, t, t))
    return seen & torch.ones(t, t, dtype=torch.bool, device=seen.device).tril()


def causal_lm(model: Any) -> Any:
    """The transformers model below an adapter wrapper, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def text_config(model: Any) -> Any:
    """The configuration of the language model (nested in multimodal ones)."""
    return causal_lm(model).config.get_text_config()


def sliding_window(config: Any) -> int | None:
    """Tokens a sliding layer looks back; None when no layer slides. ModelError for layers that
    a tree mask cannot describe (linear attention, chunks, state spaces, ALiBi)."""
    kinds = set(getattr(config, "layer_types", None) or [])
    # GPT-Neo's local layers cut by places in the row, with a buffer of their own.
    local = {"local"} & set(getattr(config, "attention_layers", None) or [])
    # ALiBi weighs by distance in the row; at fresh weights the start check hardly sees it.
    biased = any(getattr(c, "alibi", False) for c in (config, getattr(config, "attn_config", None)))
    unknown = (kinds - {"full_attention", "sliding_attention"}) | local
    unknown |= {"alibi"} if biased else set()
    if unknown:
        raise ModelError(
            f"layers of type {', '.join(sorted(unknown))} cannot attend along a token tree",
            where="model",
            repair="Set scoring.layout=padded.",
        )
    window = getattr(config, "sliding_window", None)
    slides = "sliding_attention" in kinds or (not kinds and window is not None)
    return int(window) if slides and window else None


def packing(model: Any, layout: Layout, device: torch.device) -> Packing:
    """How `layout` is computed: a forest in blocks on a CPU, by FlexAttention on CUDA, or under
    dense masks where there is an `obstacle` to either."""
    if layout != "forest":
        return layout
    if obstacle(model, device):
        return "masked"
    return "forest" if device.type == "cpu" else "flex"


def obstacle(model: Any, device: torch.device) -> str | None:
    """Why a forest of this model has to go under dense masks; None if it has not."""
    config, body = text_config(model), causal_lm(model).base_model
    if config._attn_implementation != "sdpa":
        return f"attention is computed by {config._attn_implementation}, not sdpa"
    if not getattr(body, "_supports_attention_backend", False):
        return f"{type(body).__name__} hands its attention to nobody"
    if getattr(config, "attention_dropout", 0.0) or getattr(config, "attn_pdrop", 0.0):
        return "attention has dropout"
    widths = getattr(config, "v_head_dim", None), getattr(config, "qk_head_dim", None)
    if None not in widths and widths[0] != widths[1]:
        return "values are not as wide as queries"
    if device.type not in ("cpu", "cuda"):
        return f"there is no FlexAttention on {device.type}"
    dtype = causal_lm(model).get_input_embeddings().weight.dtype
    if device.type == "cuda" and dtype == torch.float64:
        return "FlexAttention sums in fp32"
    if device.type == "cuda" and head_width(config) < 16:
        return f"FlexAttention wants heads of 16 at least, these have {head_width(config)}"
    return None


def head_width(config: Any) -> int:
    """Entries of a head of attention."""
    return int(getattr(config, "head_dim", None)
               or config.hidden_size // config.num_attention_heads)  # fmt: skip


def cost_of(model: Any) -> Cost:
    """Multiply-adds per token and per attended pair, from the model's shape."""
    config = text_config(model)
    embedding = causal_lm(model).get_input_embeddings().weight.numel()
    body = max(sum(p.numel() for p in causal_lm(model).parameters()) - embedding, 1)
    if not getattr(config, "num_attention_heads", 0):  # a state space
        return Cost(linear=float(body), attention=0.0)
    pair = 2.0 * config.num_attention_heads * head_width(config)
    attention = pair * config.num_hidden_layers
    return Cost(linear=float(body), attention=attention, call=CALL / pair)


def _additive(visible: Tensor, dtype: torch.dtype) -> Tensor:
    mask = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
    return mask.masked_fill(~visible, torch.finfo(dtype).min).unsqueeze(1)
