"""What a batch of fits will take in memory: said, and refused where it is not there, before anything is compiled.

Counted from shapes: the data and their copy on the device; the state of the chains that run at once, three
times, for a block begins from one, carries one and ends in one; what a block notes of its iterations; the
largest set of intermediate results of one gradient that are needed at the same time; the draws that are
held, while the posterior is written three times over. Compiling and the libraries are not counted.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.extend.core import Jaxpr, Literal

from scalecheck import sampler
from scalecheck.errors import StudyError

VARIABLE = "SCALECHECK_MEMORY_GB"
GB = 1e9

_COPIES_OF_STATE = 3
_COPIES_OF_DRAWS = 3
_CGROUP = Path("/sys/fs/cgroup")


class Forecast(NamedTuple):
    """Bytes.

    Attributes
    ----------
    data
        Rows, on the host and on the device.
    chains
        State of the chains that run at once, and what a block notes.
    gradients
        Intermediate results of the gradients of those chains.
    draws
        Draws that are held of all fits.
    """

    data: int
    chains: int
    gradients: int
    draws: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(self)

    def in_words(self, available: float) -> str:
        """Say it, in GB or, where it is less than one, in MB."""
        unit, scale, digits = ("GB", GB, 1) if self.total >= GB else ("MB", 1e6, 0)
        parts = ", ".join(
            f"{name} {size / scale:.{digits}f}" for name, size in self._asdict().items()
        )
        total = f"{self.total / scale:.{digits}f} {unit}"
        return f"{total}: {parts} (of {available / GB:.1f} GB available)"


def forecast(
    potential: Callable[..., Any],
    arrays: Mapping[str, Any],
    starts: Mapping[str, Any],
    settings: sampler.Settings,
    streams: sampler.Streams | None,
    *,
    at_once: int,
    room: int | None,
    most_draws: int,
) -> Forecast:
    """Forecast what a batch takes.

    Parameters
    ----------
    potential
        `arrays -> (unconstrained sites -> potential energy)`.
    arrays
        Data `(fit, rows, ...)`.
    starts
        Unconstrained sites `(fit, chain, ...)`.
    at_once
        Fits that run at once, at most.
    room
        Iterations of a chain that a block has room for; None for as many as lanes take.
    most_draws
        Draws of a chain, at most.
    """
    n_fits, n_chains = next(iter(starts.values())).shape[:2]
    running = min(n_fits, at_once) * n_chains
    of_lane = sampler.footprint(potential, arrays, starts, settings, streams)
    # Beside what is noted lie the momenta of iterations to come, and what they are drawn from.
    block = 3 * of_lane.iteration * (room or of_lane.room)
    return Forecast(
        2 * sum(values.nbytes for values in arrays.values()),
        running * (_COPIES_OF_STATE * of_lane.state + block),
        running * _of_gradient(potential, arrays, starts),
        _COPIES_OF_DRAWS * n_fits * n_chains * most_draws * of_lane.draw,
    )


def check(found: Forecast, available: float, fits: str) -> None:
    """Refuse what does not fit.

    Raises
    ------
    StudyError
        Names what takes most, and the key that changes it.
    """
    if found.total <= available:
        return
    largest = max(found._asdict(), key=lambda name: getattr(found, name))
    raise StudyError(f"{fits}: needs about {found.in_words(available)}: {_ADVICE[largest]}")


_ADVICE = {
    "data": "use fewer rows (increments.end, subsets.size)",
    "chains": "lower sampler.chains, or use fewer rows where parameters grow with them (increments.end)",
    "gradients": "lower sampler.chains, or use fewer rows (increments.end, subsets.size)",
    "draws": "name fewer sites in sampler.keep, or lower sampler.draws",
}


def available() -> float:
    """Bytes that are free where fits run: on the accelerator, else in this machine, or in this job's share of it.

    Raises
    ------
    StudyError
        When the environment variable is no positive number.
    """
    if given := os.environ.get(VARIABLE):
        return _given(given)
    device = jax.local_devices()[0]
    if device.platform != "cpu" and (stats := device.memory_stats()):
        return float(stats["bytes_limit"] - stats["bytes_in_use"])
    return min(_of_machine(), _of_job())


def _given(text: str) -> float:
    try:
        found = float(text) * GB
    except ValueError:
        found = float("nan")
    if not found > 0:
        raise StudyError(f"{VARIABLE} must be a positive number of GB, not {text!r}")
    return found


def _of_machine() -> float:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    (line,) = (line for line in lines if line.startswith("MemAvailable:"))
    return 1024.0 * int(line.split()[1])


def _of_job() -> float:
    """What the control group of a container or a batch job leaves; infinite where there is no limit."""
    try:
        limit = (_CGROUP / "memory.max").read_text(encoding="ascii")
        used = (_CGROUP / "memory.current").read_text(encoding="ascii")
        return float(int(limit) - int(used))
    except (OSError, ValueError):
        return float("inf")


def _of_gradient(
    potential: Callable[..., Any], arrays: Mapping[str, Any], starts: Mapping[str, Any]
) -> int:
    """Bytes of the intermediate results of one gradient that are needed at the same time, at most."""

    def value_and_grad(z: Any, arrays: Any) -> Any:
        return jax.value_and_grad(potential(**arrays))(z)

    own = lambda x, n: jax.ShapeDtypeStruct(x.shape[n:], jax.dtypes.canonicalize_dtype(x.dtype))  # noqa: E731
    closed = jax.make_jaxpr(value_and_grad)(
        {name: own(values, 2) for name, values in starts.items()},
        {name: own(values, 1) for name, values in arrays.items()},
    )
    return _peak(closed.jaxpr)


def _peak(jaxpr: Jaxpr) -> int:
    """Most bytes that the equations of a program need at the same time, its arguments apart."""
    last = {
        variable: number
        for number, equation in enumerate(jaxpr.eqns)
        for variable in equation.invars
        if not isinstance(variable, Literal)
    }
    last |= {
        variable: len(jaxpr.eqns) for variable in jaxpr.outvars if not isinstance(variable, Literal)
    }
    live: dict[Any, int] = {}
    most = 0
    for number, equation in enumerate(jaxpr.eqns):
        live |= {variable: _bytes(variable.aval) for variable in equation.outvars}
        inner = max((_peak(part) for part in _parts(equation.params)), default=0)
        most = max(most, sum(live.values()) + inner)
        live = {
            variable: size for variable, size in live.items() if last.get(variable, -1) > number
        }
    return most


def _parts(params: Mapping[str, Any]) -> list[Jaxpr]:
    """Programs within an equation, closed or not."""
    found = [getattr(one, "jaxpr", one) for one in jax.tree.leaves(list(params.values()))]
    return [one for one in found if isinstance(one, Jaxpr)]


def _bytes(aval: Any) -> int:
    # Keys of random numbers have no size in bytes of their own, and matter to no forecast.
    return aval.size * getattr(aval.dtype, "itemsize", 0)
