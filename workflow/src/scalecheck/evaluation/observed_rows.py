"""What of an outcome is observed: rows that the model masks, and true values that are censored and are drawn.

A censored row is completed by a draw of its true value at one draw of the posterior, within its bounds. Under the model
the posterior of a fit to these very rows makes the completed outcome a draw from the predictive distribution, exactly:
its observed part is one, and the rest is drawn given that part. (Drawn from the posterior before these rows, it would
look back to that; and the rows of a unit would not share what is observed of the unit.)
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Shaped

from scalecheck.evaluation.likelihood import Likelihood
from scalecheck.evaluation.row_blocks import blocks_of
from scalecheck.model import outcome
from scalecheck.model.density import traced_at
from scalecheck.model.rows import ByRow, Rows
from scalecheck.model.sites import ROWS, Site, traced
from scalecheck.results.study_fits import FitResult


class ObservedRows(NamedTuple):
    """Rows of a block; all `(rows,)`.

    Attributes
    ----------
    takes_part
        Whether it has a part in the likelihood: the model does not mask it.
    censored
        Whether its true value is not observed.
    """

    takes_part: Bool[np.ndarray, " row"]
    censored: Bool[np.ndarray, " row"]


def observed_rows(likelihood: Likelihood, values: Mapping[str, ByRow]) -> ObservedRows:
    """Say which rows are masked or censored.

    Parameters
    ----------
    likelihood
        Of a model that can predict rows.
    values
        Columns `(rows,)`.
    """
    rows, site = likelihood.rows(values), likelihood.described_outcome
    if not (site.masked or site.censored):
        return ObservedRows(np.ones(rows.n_rows, bool), np.zeros(rows.n_rows, bool))

    blocks = blocks_of(likelihood, rows)

    def build() -> Any:
        function = likelihood.function(blocks.counts)

        @jax.jit
        def program(arrays: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
            # Neither depends on what is drawn.
            observed = traced(function, arrays, jax.random.key(0))[likelihood.observed]
            fn, value = observed["fn"], observed["value"]
            return outcome.taking_part(fn, value.shape[0]), outcome.censored_rows(fn, value)

        return program

    program = likelihood.program(("observed rows", *sorted(blocks.counts.items())), build)
    takes_part, censored = np.concatenate(
        [np.stack(program(block.arrays))[:, block.is_row] for block in blocks.blocks], axis=1
    )
    return ObservedRows(takes_part, takes_part & censored)


def tells(column: Shaped[np.ndarray, " row"], censored: Bool[np.ndarray, " row"]) -> bool:
    """Say whether a column `(rows,)` tells which rows are censored: in each of its few levels all are, or none."""
    levels, code = np.unique(column, return_inverse=True)
    if len(levels) > len(column) / 2 or not censored.any() or censored.all():
        return False
    share = np.bincount(code, censored) / np.bincount(code)
    return bool(np.isin(share, (0, 1)).all())


def not_kept(likelihood: Likelihood, fit: FitResult) -> str | None:
    """Say which draws are missing for `complete`, or None."""
    stored = fit.tree["posterior"]
    missing = [site.name for site in likelihood.hidden if site.name not in stored]
    if not missing:
        return None
    return (
        "outcomes are censored, and what they could have been depends on draws that were not kept: add"
        f" {', '.join(missing)} to sampler.keep"
    )


def complete(
    likelihood: Likelihood,
    fit: FitResult,
    values: Mapping[str, ByRow],
    rng: np.random.Generator,
) -> Float[np.ndarray, " row"]:
    """Draw the true value of each censored row given all rows of a fit; others are as observed.

    Parameters
    ----------
    likelihood
        Of the model.
    fit
        To these rows, with the draws of all latent sites (`not_kept`).
    values
        Columns `(rows,)`, in the order in which the fit read them.
    rng
        Chooses the draw, and draws.
    """
    rows = likelihood.rows(values)
    draws = fit.z.reshape(-1, fit.z.shape[-1])
    chosen = int(rng.integers(len(draws)))
    hidden = {site.name: _drawn(likelihood, rows, site, fit, chosen) for site in likelihood.hidden}

    def build() -> Any:
        function, vector = likelihood.function(rows.counts), likelihood.vector

        @jax.jit
        def program(z: Any, hidden: Any, arrays: Any, key: Any) -> jax.Array:
            trace = traced_at(
                function, vector.unpack(z), arrays, others=lambda site: hidden.get(site["name"])
            )
            observed = trace[likelihood.observed]
            return outcome.complete(observed["fn"], observed["value"], key)

        return program

    program = likelihood.program(("complete", *sorted(rows.counts.items())), build)
    key = jax.random.key(int(rng.integers(2**31)))
    return np.asarray(program(jnp.asarray(draws[chosen]), hidden, rows.arrays, key))


def _drawn(
    likelihood: Likelihood, rows: Rows, site: Site, fit: FitResult, chosen: int
) -> np.ndarray:
    """Give one draw of a latent site, on its support."""
    stored = fit.tree["posterior"][site.name].to_numpy()
    value = stored.reshape(-1, *stored.shape[2:])[chosen].astype("float64")
    n_entries = {column: rows.counts[name] for name, column in likelihood.model.counts.items()}
    n_entries[ROWS] = rows.n_rows
    for column, axis in site.plates:
        # The batch of the fit may have had more units than this fit: its own come first.
        value = value.take(range(n_entries[column]), axis=axis)
    return value
