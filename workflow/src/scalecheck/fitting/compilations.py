"""What this process has compiled: how many programs, and the seconds that it took, as JAX tells it."""

from typing import NamedTuple

import jax

_EVENTS = {
    "/jax/core/compile/jaxpr_trace_duration": "tracing",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lowering",
    "/jax/core/compile/backend_compile_duration": "compiling",
}
_FOUND = "/jax/compilation_cache/cache_hits"


class Compilations(NamedTuple):
    """Programs, and seconds by the wall.

    Attributes
    ----------
    programs
        That were asked for.
    cached
        Of them, those that were found in the folder of compiled programs.
    tracing, lowering, compiling
        Seconds from Python to a jaxpr, from there to StableHLO, and from there to a program, reading it included.
    """

    programs: float = 0
    cached: float = 0
    tracing: float = 0.0
    lowering: float = 0.0
    compiling: float = 0.0

    def since(self, before: "Compilations") -> "Compilations":
        """What was compiled since another look."""
        return Compilations(*(new - old for new, old in zip(self, before, strict=True)))

    def share(self, n_fits: int) -> dict[str, float]:
        """Give the share of each of so many fits, by name."""
        return {name: value / n_fits for name, value in self._asdict().items()}


_seen = dict.fromkeys(Compilations._fields, 0.0)


def _add_seconds(event: str, duration_secs: float, **kwargs: object) -> None:
    if event in _EVENTS:
        _seen[_EVENTS[event]] += duration_secs
        _seen["programs"] += _EVENTS[event] == "compiling"


def _add_event(event: str, **kwargs: object) -> None:
    _seen["cached"] += event == _FOUND


# Once in a process: listeners cannot be taken back.
jax.monitoring.register_event_duration_secs_listener(_add_seconds)
jax.monitoring.register_event_listener(_add_event)


def so_far() -> Compilations:
    """Give what this process has compiled so far."""
    return Compilations(*(_seen[name] for name in Compilations._fields))
