"""Whether a run measures gradients of single views: what of the settings goes together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bvrank.errors import ConfigError

if TYPE_CHECKING:
    from bvrank.commands.settings import TrainSettings


def estimated(objective: Any) -> bool:
    """Whether alpha is estimated."""
    return bool(getattr(objective, "alpha", None) == "auto")


def wanted(settings: TrainSettings, objective: Any) -> bool:
    """Whether gradients of single views are measured at all."""
    return estimated(objective) or settings.probe.gradients.every > 0


def check(settings: TrainSettings, objective: Any, source: Any) -> None:
    """ConfigError for settings of a measurement that is not made, or that cannot be; of data that
    are yet to be sampled before anything is taught for them."""
    from bvrank.data.arithmetic import Arithmetic

    if estimated(objective) and isinstance(source, Arithmetic) and source.traces < 2:
        raise ConfigError("alpha is estimated from two traces of each answer, and one is kept",
                          where="data.traces", repair="Write data.traces=2 data.samples=16, or set "
                          "objective.alpha to a number.")  # fmt: skip
    if estimated(objective) and "alpha" in settings.schedule:
        raise ConfigError("alpha is estimated (objective.alpha=auto)", where="schedule.alpha",
                          repair="Leave one of the two out.")  # fmt: skip
    if not estimated(objective):
        _unused("auto", settings.auto, (), "objective.alpha=auto")
    if not wanted(settings, objective):
        why = "probe.gradients.every=100, or objective.alpha=auto"
        _unused("probe.gradients", settings.probe.gradients, ("every",), why)
        return
    if settings.compile:
        raise ConfigError("compiled layers do not give gradients of single views",
                          where="compile", repair="Set compile=false, or alpha to a number and "
                          "probe.gradients.every=0.")  # fmt: skip


def _unused(key: str, section: Any, but: tuple[str, ...], wants: str) -> None:
    for name, field in type(section).__dataclass_fields__.items():
        if name not in but and getattr(section, name) != field.default:
            raise ConfigError("has no effect: nothing is measured", where=f"{key}.{name}",
                              repair=f"Set {wants}.")  # fmt: skip
