"""A key-value cache that grows in place."""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer


def roomy_cache(model: PreTrainedModel) -> DynamicCache:
    """The cache the model would build; layers of other kinds (sliding, linear) stay as they are."""
    cache = DynamicCache(config=model.config)
    roomy: Callable[[], DynamicLayer] = _RoomyLayer
    cache.layers = [roomy() if type(x) is DynamicLayer else x for x in cache.layers]
    return cache


class _RoomyLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """A cache layer with room to spare: DynamicLayer copies all it holds for every new token.

    `keys` and `values` [R,heads,T,width] stay views of the rooms, so everything else is inherited.
    """

    rooms: tuple[Tensor, Tensor] | None = None

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        past = self.get_seq_length()
        if past == 0:
            return super().update(key_states, value_states, *args, **kwargs)
        total = past + key_states.shape[-2]
        if self.rooms is None or self.rooms[0].shape[-2] < total:
            assert self.keys is not None and self.values is not None  # past > 0
            self.rooms = _room(self.keys, total), _room(self.values, total)
        for room, new in zip(self.rooms, (key_states, value_states), strict=True):
            room[..., past:total, :] = new
        self.keys, self.values = (room[..., :total, :] for room in self.rooms)
        return self.keys, self.values

    def batch_repeat_interleave(self, repeats: int) -> None:
        super().batch_repeat_interleave(repeats)
        self.rooms = None

    def batch_select_indices(self, indices: Tensor) -> None:
        super().batch_select_indices(indices)
        self.rooms = None


def _room(held: Tensor, total: int) -> Tensor:
    """held [R,heads,T,width] at the start of a buffer of one and a half times total positions."""
    room = held.new_empty(*held.shape[:2], total + total // 2, held.shape[3])
    room[..., : held.shape[2], :] = held
    return room
