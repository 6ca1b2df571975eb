"""What a batch of fits will take in memory: said, and refused where it is not there, before anything is compiled.

Counted from shapes: the data and their copy on the device; the state of the chains that run at once, three
times, for a block begins from one, carries one and ends in one, and of those that wait; what a block notes of
its iterations; the largest set of intermediate results of one gradient that are needed at the same time; the
draws that are asked for, twice while they are joined, and once more of the fit that is written. Compiling
and the libraries are not counted.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from scalecheck import sampler
from scalecheck.errors import NotEnoughMemory
from scalecheck.model import jaxpr
from scalecheck.runtime.free_memory import GB, Free

MB = 1e6

_COPIES_OF_STATE = 3
# Beside what is noted lie the momenta of iterations to come, and what they are drawn from.
_COPIES_OF_NOTES = 3
_COPIES_OF_DRAWS = 2


class Sizes(NamedTuple):
    """Bytes.

    Attributes
    ----------
    data
        Rows.
    chains
        State of the chains, and what a block notes.
    gradients
        Intermediate results of the gradients of chains that run at once.
    draws
        Draws that are held of all fits.
    """

    data: int = 0
    chains: int = 0
    gradients: int = 0
    draws: int = 0

    @property
    def total(self) -> int:
        """All of it."""
        return sum(self)

    def in_words(self) -> str:
        """Say it, in GB or in MB; less than one MB at once."""
        if self.total < MB:
            return "less than 1 MB"
        unit, scale, digits = ("GB", GB, 1) if self.total >= GB else ("MB", MB, 0)
        said = {name: f"{size / scale:.{digits}f}" for name, size in self._asdict().items()}
        parts = ", ".join(f"{name} {size}" for name, size in said.items() if float(size))
        return f"about {self.total / scale:.{digits}f} {unit}: {parts}"


class Need(NamedTuple):
    """What is needed of one memory: where it is, in words, what, and how many bytes of it are free."""

    place: str
    sizes: Sizes
    free: float

    def in_words(self) -> str:
        """Say it."""
        return f"{self.sizes.in_words()} (of {_in_words(self.free)} available{self.place})"


class BatchMemory(NamedTuple):
    """What a batch takes of the memory of the host, and of that of the device, which may be the same."""

    host: Sizes
    device: Sizes

    def needs(self, free: Free) -> list[Need]:
        """Hold it against what is free: each against its own where fits run on a GPU."""
        if free.gpu is None:
            return [Need("", self.together, free.host)]
        return [
            Need(" on the GPU", self.device, free.gpu),
            Need(" on the host", self.host, free.host),
        ]

    @property
    def together(self) -> Sizes:
        """All of it, where host and device share a memory: what a block notes is then not copied."""
        return Sizes(
            self.host.data + self.device.data,
            self.device.chains,
            self.device.gradients,
            self.host.draws,
        )


def batch_memory(
    potential: Callable[..., Any],
    arrays: Mapping[str, Any],
    starts: Mapping[str, Any],
    settings: sampler.Settings,
    streams: sampler.Streams | None,
    *,
    at_once: int,
    in_block: int,
    room: int | None,
    draws: int,
) -> BatchMemory:
    """Forecast what a batch takes.

    Parameters
    ----------
    potential
        `arrays -> (unconstrained sites -> potential energy)`.
    arrays
        Data `(fit, rows, ...)`.
    starts
        Unconstrained sites `(fit, chain, ...)`, of which only the shapes are looked at.
    at_once
        Fits that run at once, at most.
    in_block
        Fits of which a block notes what they do, at most.
    room
        Iterations of a chain that a block has room for; None for as many as lanes take.
    draws
        Draws of a chain.
    """
    n_fits, n_chains = next(iter(starts.values())).shape[:2]
    running = min(n_fits, at_once) * n_chains
    of_lane = sampler.footprint(potential, arrays, starts, settings, streams, min(n_fits, in_block))
    notes = min(n_fits, in_block) * n_chains * of_lane.iteration * (room or of_lane.room)
    gradient, shapes = one_gradient(potential, arrays, starts)
    data = sum(values.nbytes for values in arrays.values())
    return BatchMemory(
        Sizes(
            data=data,
            chains=notes,
            draws=(_COPIES_OF_DRAWS * n_fits + 1) * n_chains * draws * of_lane.draw,
        ),
        Sizes(
            data=data,
            chains=_COPIES_OF_STATE * running * of_lane.state + _COPIES_OF_NOTES * notes,
            gradients=running * jaxpr.peak_bytes(jax.make_jaxpr(gradient)(*shapes)),
        ),
    )


def check_memory(found: BatchMemory, free: Free, fits: str) -> str:
    """Refuse what does not fit; say what does, in one line.

    Raises
    ------
    NotEnoughMemory
        Names what takes most, and the key that changes it.
    """
    needs = found.needs(free)
    for need in needs:
        if need.sizes.total > need.free:
            largest = max(Sizes._fields, key=lambda name: getattr(need.sizes, name))
            raise NotEnoughMemory(f"{fits}: needs {need.in_words()}: {_ADVICE[largest]}")
    return f"{fits}: takes {'; '.join(need.in_words() for need in needs)}"


_ADVICE = {
    "data": "use fewer rows (increments.end, subsets.size)",
    "chains": "lower sampler.chains, or use fewer rows where parameters grow with them (increments.end)",
    "gradients": "lower sampler.chains, or use fewer rows (increments.end, subsets.size)",
    "draws": "name fewer sites in sampler.keep, or lower sampler.draws",
}


def _in_words(size: float) -> str:
    return f"{size / GB:.1f} GB" if size >= GB else f"{size / MB:.3g} MB"


def one_gradient(
    potential: Callable[..., Any], arrays: Mapping[str, Any], starts: Mapping[str, Any]
) -> tuple[Callable[..., Any], tuple[Any, Any]]:
    """Give the gradient of one chain of one fit as a function, and the shapes of what it takes.

    Parameters
    ----------
    potential, arrays, starts
        As of `batch_memory`.
    """

    def value_and_grad(z: Any, arrays: Any) -> Any:
        return jax.value_and_grad(potential(**arrays))(z)

    return value_and_grad, (jaxpr.shapes_of(starts, 2), jaxpr.shapes_of(arrays, 1))
