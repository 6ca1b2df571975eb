"""An approximate posterior as it is compared, judged and written, whatever method gave it."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from scalecheck import laplace
from scalecheck.files.posterior_file import ATTRIBUTES, Group
from scalecheck.fitting.checkpoint import Checkpointer
from scalecheck.fitting.kept_sites import kept_sites, needed_latents, own_values
from scalecheck.laplace import nested, unit_proposals, unit_summaries
from scalecheck.laplace.nested import NestedLaplace
from scalecheck.model import density
from scalecheck.model.batches import Batch
from scalecheck.model.reparam import coordinates_of
from scalecheck.runtime.program import Log
from scalecheck.study.settings import ApproximationSettings
from scalecheck.variational import approximation
from scalecheck.variational.approximation import Approximation
from scalecheck.variational.khat import Khat

# Of the sites that are kept: dims, values `(draw, ...)` and labels by site.
Kept = dict[str, tuple[tuple[str, ...], np.ndarray, dict[str, Sequence[str | int]]]]


class Approximated(NamedTuple):
    """An approximate posterior.

    Attributes
    ----------
    batch
        The rows, one fit.
    shared
        `(draw, n_shared)` draws of the compared parameters, unconstrained.
    mean, sd
        `(n_shared,)` of these parameters; of weighted draws more precise than of `shared`.
    n_independent
        Independent draws that mean and sd are worth.
    converged, reason
        Whether it has, and why not.
    steps
        Of a guide: gradients of minibatches. Of nested Laplace: gradients of the marginal density.
    log_q
        Log density `(n,)` of the approximation at `(n, n_shared)`, where its k-hat is still to be found.
    khat
        Where it is known already.
    kept
        Gives the draws of the sites that are kept.
    groups
        Of approximation.nc beside those of all methods.
    doubts
        What speaks against its intervals, in words.
    details
        What only this method has to say, for approximation.json.
    """

    batch: Batch
    shared: np.ndarray
    mean: np.ndarray
    sd: np.ndarray
    n_independent: float
    converged: bool
    reason: str
    steps: int
    log_q: Callable[[np.ndarray], np.ndarray] | None
    khat: Khat | None
    kept: Callable[[], Kept]
    groups: Callable[[], dict[str, Group]]
    doubts: tuple[str, ...]
    details: Mapping[str, Any]


def approximate_batch(
    batch: Batch,
    settings: ApproximationSettings,
    keep: Sequence[str] | None,
    key: jax.Array,
    log: Log,
    checkpointer: Checkpointer | None = None,
) -> Approximated:
    """Approximate the posterior of a batch of one fit.

    Parameters
    ----------
    settings
        Its `method` is not `auto`.
    keep
        `sampler.keep`.
    key
        `(2,)` of all that is random.
    checkpointer
        Saves the run while it goes on.
    """
    if settings.method != "laplace":
        return _of_guide(approximation.approximate(batch, settings, key, log, checkpointer), keep)
    # A kept site may be computed from those of units.
    names = tuple(site.name for site in kept_sites(batch, keep))
    needed = needed_latents(batch, coordinates_of(batch.function, {}), names)
    keeps_units = not _sites_of_units(batch).isdisjoint(needed)
    found = nested.approximate_nested(
        batch, key, log, checkpointer, exact=settings.exact == "nuts", keeps_units=keeps_units
    )
    return _of_nested(found, keep)


def _sites_of_units(batch: Batch) -> set[str]:
    return {site.name for site in batch.sites if batch.unit in site.indexed_by}


def _of_guide(found: Approximation, keep: Sequence[str] | None) -> Approximated:
    ended = found.found
    return Approximated(
        found.batch,
        found.shared,
        found.shared.mean(axis=0),
        found.shared.std(axis=0),
        len(found.shared),
        ended.converged,
        ended.reason,
        ended.steps,
        found.log_density_shared,
        None,
        partial(approximation.constrained, found, keep),
        dict,
        (),
        {"rounds": [one._asdict() for one in ended.rounds]},
    )


def _of_nested(found: NestedLaplace, keep: Sequence[str] | None) -> Approximated:
    mean, covariance = found.audited.weights.moments(found.audited.thetas)
    reason = found.reason()
    return Approximated(
        found.batch,
        found.shared.astype("float32"),
        mean,
        np.sqrt(np.diag(covariance)),
        found.n_independent,
        not reason,
        reason,
        found.evaluations,
        None,
        Khat(found.khat),
        partial(_constrained, found, keep),
        partial(_groups_of_units, found),
        _doubts(found),
        _details(found),
    )


def _doubts(found: NestedLaplace) -> tuple[str, ...]:
    missed = int(unit_summaries.has_other_mode(found.missed_mass).sum())
    if not missed:
        return ()
    return (
        f"{missed:,} of {len(found.missed_mass):,} units have another mode that is left out, with up to"
        f" {found.missed_mass.max():.0%} of a unit's posterior: their intervals are too narrow",
    )


def _details(found: NestedLaplace) -> dict[str, Any]:
    second = unit_summaries.has_other_mode(found.second_mass)
    return {
        "units": len(found.second_mass),
        "second_modes": int(second.sum()),
        "largest_second_mass": float(found.second_mass.max(initial=0.0)),
        "draws_of_a_unit": unit_proposals.N_INNER,
        "fewest_draws_of_a_unit": found.audited.fewest,
        "khat_without_correction": found.audited.plain.khat,
        "khat_of_importance_draws": (found.first or found.audited).weights.khat,
        "effective_draws": found.n_independent,
        "nuts": found.chains and found.chains._asdict(),
    }


def _constrained(found: NestedLaplace, keep: Sequence[str] | None) -> Kept:
    """Draws of the sites that are kept on the model's scale."""
    batch, model = found.batch, found.marginal.model
    kept = kept_sites(batch, keep)
    names = [site.name for site in kept]
    n_units = len(found.second_mass)
    # Where no kept site needs those of units, any value of theirs does.
    no_units = np.zeros((1, n_units, model.n_own), "float32")

    @jax.jit
    def one(theta: jax.Array, u: jax.Array, arrays: dict[str, jax.Array]) -> dict[str, jax.Array]:
        z = {**model.vector.unpack(theta), **model.unpack(u)}
        values = density.constrain(batch.function, z, arrays, deterministic=True)
        return {name: values[name] for name in names}

    own = no_units if found.own is None else found.own
    arrays = jax.tree.map(jnp.asarray, batch.arrays_of())
    # A batch of fits has room for as many units as the largest of them.
    room = [batch.counts[n] for n, column in batch.bound.counts.items() if column == batch.unit]
    padded = max(room, default=n_units)
    own = np.pad(own, ((0, 0), (0, padded - n_units), (0, 0)))
    drawn = [
        jax.tree.map(np.asarray, one(theta, own[number % len(own)], arrays))
        for number, theta in enumerate(found.shared.astype("float32"))
    ]
    return {
        site.name: (
            site.dims,
            *own_values(batch, 0, site, np.stack([draw[site.name] for draw in drawn]), 1),
        )
        for site in kept
    }


def _groups_of_units(found: NestedLaplace) -> dict[str, Group]:
    """Give the group `units`: statistics of each latent site of units, on the model's scale."""
    batch, model = found.batch, found.marginal.model
    sites = {site.name: site for site in batch.sites}
    shapes = {
        own.name: tuple(n for i, n in enumerate(sites[own.name].shape) if i != own.axis)
        for own in model.own
    }
    split = unit_summaries.site_statistics(model, found.statistics, shapes)
    variables: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
    coords: dict[str, Sequence[Any]] = {"statistic": list(unit_summaries.STATISTICS)}
    for own in model.own:
        values = np.moveaxis(np.moveaxis(split[own.name], -1, 0), 1, own.axis + 1)
        values, labels = own_values(batch, 0, sites[own.name], values.astype("float32"), 1)
        variables[own.name] = (("statistic", *sites[own.name].dims), values)
        coords |= labels
    return {"units": Group(variables, coords, ATTRIBUTES)}


def groups_of_approximation(found: Approximated) -> dict[str, Group]:
    """Give the groups of approximation.nc: draws, one chain, on both scales, and what else the method has."""
    kept, n_draws = found.kept(), len(found.shared)
    counted = {"chain": range(1), "draw": range(n_draws)}
    coords = {dim: labels for *_, parts in kept.values() for dim, labels in parts.items()}
    attributes = ATTRIBUTES | {"sample_dims": ["chain", "draw"]}
    variables = {n: (("chain", "draw", *dims), v[None]) for n, (dims, v, _) in kept.items()}
    vector = {"z": (("chain", "draw", "parameter"), found.shared[None])}
    names = list(found.batch.vector.names)
    return {
        "posterior": Group(variables, {**counted, **coords}, attributes),
        "unconstrained_posterior": Group(vector, {**counted, "parameter": names}, attributes),
        **found.groups(),
    }


def depends_on(settings: ApproximationSettings, *others: Any) -> list[str]:
    """Everything but the data that determines an approximation, as texts to be hashed."""
    folders = Path(__file__).parent, Path(str(laplace.__file__)).parent
    files = [path for folder in folders for path in sorted(folder.glob("*.py"))]
    source = [path.read_text(encoding="utf-8") for path in files]
    given = [settings.method, settings.exact, settings.batch, settings.steps, *others]
    return [*source, json.dumps(given)]
