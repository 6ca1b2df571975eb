"""Problems without data: a NumPyro model that takes no arguments."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from scalecheck.errors import StudyError
from scalecheck.model import binding, density, sites
from scalecheck.model.batches import Batch
from scalecheck.remedies.problem import Problem, problem_of_batch
from scalecheck.study import schema
from scalecheck.study.plan import PlannedFit
from scalecheck.study.settings import SamplerSettings, freeze


def default_sampler(depth: int) -> SamplerSettings:
    """Give the defaults of a study's sampler, with another `max_tree_depth`."""
    defaults = {
        name: part["default"]
        for name, part in schema.load()["properties"]["sampler"]["properties"].items()
    }
    return freeze(SamplerSettings, {**defaults, "max_tree_depth": depth})


def problem_of_target(target: str, settings: SamplerSettings, gradients: int) -> Problem:
    """Make a problem of `FILE:FUNCTION`, a NumPyro model without arguments.

    Raises
    ------
    StudyError
        When there is no such function, or it cannot be traced.
    """
    file, _, name = target.rpartition(":")
    if not file:
        raise StudyError(f"--target must be FILE:FUNCTION, got {target}")
    function = binding.load_function(file, name, "--target")
    return problem_of_batch(batch_without_data(function, f"{file}: {name}"), settings, 0, gradients)


def batch_without_data(function: Callable[[], Any], name: str) -> Batch:
    """Make a batch of a model without arguments: it has one row, which nobody looks at.

    Raises
    ------
    StudyError
        When the model cannot be traced, or has a latent site that is discrete.
    """

    def without_rows(nothing: Any) -> Any:
        return function()

    arrays = {"nothing": np.zeros((1, 1), "float32")}
    first = {"nothing": arrays["nothing"][0]}
    try:
        found = _sites(without_rows, first)
    except Exception as error:
        raise StudyError(f"{name}: the model raises {binding.first_line(error)}") from error
    for site in found:
        if site.kind == "discrete":
            raise StudyError(
                f"{name}: the latent site {site.name} is discrete, which NUTS cannot sample: sum it out"
            )
    latent = [site for site in found if site.kind == "latent"]
    vector = density.vector_of(without_rows, latent, first, {})
    bound = binding.Model(without_rows, name, "nothing", {}, {}, False)
    task = PlannedFit(name, "target", "", "", 1, 1, ())
    return Batch((task,), without_rows, arrays, [first], [{}], found, vector, {}, None, bound, {})


def _sites(function: Callable[..., Any], arrays: dict[str, np.ndarray]) -> tuple[sites.Site, ...]:
    found: list[sites.Site] = []

    def look(arrays: dict[str, Any]) -> None:
        for name, site in sites.traced(function, arrays, jax.random.key(0)).items():
            if site["type"] == "sample":
                shape = np.shape(site["value"])
                dims = tuple(f"{name}_dim_{i}" for i in range(len(shape)))
                found.append(sites.Site(name, sites.kind_of(site), shape, dims))

    jax.eval_shape(look, arrays)
    return tuple(found)
