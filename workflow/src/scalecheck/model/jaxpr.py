"""What is read off a program as JAX traced it (a jaxpr), before anything is compiled.

The only place where programs are walked: which operations one has, what it takes in memory, and which of
its arguments its results depend on.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
from jax.extend.core import Jaxpr, Literal


def operations_and_numbers(program: Any) -> Iterator[Any]:
    """Names of the operations of a program and of those within it, and every number that stands in them."""
    yield from getattr(program, "consts", ())  # of a closed one
    for equation in program.eqns:
        yield equation.primitive.name
        yield from (one.val for one in equation.invars if isinstance(one, Literal))
        for part in _programs_within(equation):
            yield from operations_and_numbers(part)


def peak_bytes(program: Any) -> int:
    """Most bytes that the equations of a program need at the same time, its arguments apart."""
    jaxpr: Jaxpr = getattr(program, "jaxpr", program)
    last = {v: n for n, equation in enumerate(jaxpr.eqns) for v in _variables(equation.invars)}
    last |= dict.fromkeys(_variables(jaxpr.outvars), len(jaxpr.eqns))
    live: dict[Any, int] = {}
    most = 0
    for number, equation in enumerate(jaxpr.eqns):
        live |= {variable: _bytes(variable.aval) for variable in equation.outvars}
        inner = max(map(peak_bytes, _programs_within(equation)), default=0)
        most = max(most, sum(live.values()) + inner)
        live = {
            variable: size for variable, size in live.items() if last.get(variable, -1) > number
        }
    return most


def needed_arguments(program: Any, names: Sequence[str]) -> frozenset[str]:
    """Those of the first arguments, which have these names, that any result of a closed program depends on."""
    jaxpr: Jaxpr = program.jaxpr
    needed = {v: frozenset([name]) for v, name in zip(jaxpr.invars, names, strict=False)}

    def of(atoms: Sequence[Any]) -> frozenset[str]:
        return frozenset().union(*(needed.get(v, frozenset()) for v in _variables(atoms)))

    for equation in jaxpr.eqns:
        needed |= dict.fromkeys(equation.outvars, of(equation.invars))
    return of(jaxpr.outvars)


def _programs_within(equation: Any) -> list[Any]:
    """Programs that an equation calls, closed or not."""
    found = jax.tree.leaves(list(equation.params.values()))
    return [one for one in found if isinstance(getattr(one, "jaxpr", one), Jaxpr)]


def _variables(atoms: Sequence[Any]) -> list[Any]:
    return [atom for atom in atoms if not isinstance(atom, Literal)]


def _bytes(aval: Any) -> int:
    # Keys of random numbers have no size in bytes of their own, and matter to no forecast.
    return aval.size * getattr(aval.dtype, "itemsize", 0)
