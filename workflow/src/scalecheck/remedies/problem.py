"""What is searched: one fit, of a study or of a model without data, and what each candidate may cost."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from scalecheck import diagnostics, sampler
from scalecheck.errors import NotEnoughMemory, StudyError
from scalecheck.fitting import sample_batch
from scalecheck.model import density
from scalecheck.model.batches import Batch
from scalecheck.model.density import Vector
from scalecheck.model.sites import Site
from scalecheck.remedies.candidate import Candidate
from scalecheck.remedies.ranking import Trial
from scalecheck.runtime.program import Log
from scalecheck.study.settings import SamplerSettings

CHAINS = 4
GRADIENTS = 100_000  # of a chain, warmup included

# Scalars that are compared: of more, R-hat and ESS take longer than sampling. Numbers that draws may take: half a GB.
_MOST_SCALARS, _NUMBERS = 2000, 2**27


class Problem(NamedTuple):
    """A fit to be tried in other ways.

    Attributes
    ----------
    batch
        Of this fit alone.
    settings
        Of the sampler, as the fit has them.
    vector
        The latent sites that candidates are compared in, as one vector.
    seed
        Of starts and draws.
    gradients
        That each chain of a candidate may take.
    marginalises
        Whether the fit has its units integrated out. Candidates sample all parameters together.
    """

    batch: Batch
    settings: SamplerSettings
    vector: Vector
    seed: int
    gradients: int
    marginalises: bool = False

    @property
    def latent(self) -> list[Site]:
        """All latent sites, also those that are not compared."""
        return [site for site in self.batch.sites if site.kind == "latent"]

    @property
    def n_scalars(self) -> int:
        """Scalars of all latent sites."""
        return sum(math.prod(site.shape) for site in self.latent)


class TrialResult(NamedTuple):
    """What was seen of a candidate, and why it failed, if it did.

    Attributes
    ----------
    trial
        Its draws.
    saturated
        Share of the trajectories that `max_tree_depth` cut, warmup included.
    divergences
        After warmup.
    warmup_share
        Of the gradients.
    failure
        One sentence; empty of what ran.
    """

    trial: Trial
    saturated: float
    divergences: int
    warmup_share: float
    failure: str = ""


def problem_of_batch(batch: Batch, settings: SamplerSettings, seed: int, gradients: int) -> Problem:
    """Make a problem of a batch of one fit.

    Raises
    ------
    StudyError
        When the model has no latent site.
    """
    marginalises = settings.marginalise is not None
    settings = dataclasses.replace(
        settings,
        engine="lanes",
        chains=CHAINS,
        on_stall="ignore",
        max_gradients=gradients,
        marginalise=None,
    )
    vector = density.vector_of(batch.function, _compared(batch), batch.arrays_of(), batch.labels)
    if not vector.names:
        raise StudyError(
            f"{batch.tasks[0].fit}: the model has no latent site, so that nothing can be sampled better"
        )
    return Problem(batch, settings, vector, seed, gradients, marginalises)


def _compared(batch: Batch) -> list[Site]:
    """The smallest latent sites first, as many as there is room for."""
    latent = [site for site in batch.sites if site.kind == "latent"]
    by_size = sorted(latent, key=lambda site: math.prod(site.shape))
    n_scalars = np.cumsum([math.prod(site.shape) for site in by_size])
    n_chosen = max(1, int((n_scalars <= _MOST_SCALARS).sum()))
    chosen = {site.name for site in by_size[:n_chosen]}
    return [site for site in latent if site.name in chosen]


def try_candidate(problem: Problem, candidate: Candidate, log: Log) -> TrialResult:
    """Sample a candidate until every chain has taken its gradients, warmup included."""
    return try_batch(problem, problem.batch, candidate.settings(problem.settings), log)


def try_batch(
    problem: Problem,
    batch: Batch,
    settings: SamplerSettings,
    log: Log,
    in_model: Callable[[dict[str, np.ndarray]], Any] = lambda z: z,
) -> TrialResult:
    """Sample a batch of one fit, in its own coordinates or in others; what cannot be sampled has no draws.

    Parameters
    ----------
    in_model
        Map of draws `(chain, draw, ...)` to the unconstrained sites of the model.

    Raises
    ------
    NotEnoughMemory
        Which says nothing of the candidate.
    """
    latent = [site for site in batch.sites if site.kind == "latent"]
    names = [site.name for site in latent]
    kept = tuple(name for name in problem.vector.shapes if name in names) or (names[0],)
    d = sum(math.prod(site.shape) for site in latent)
    draws = max(10, min(problem.gradients, _NUMBERS // (diagnostics.MOST_TIMES * CHAINS * d)))
    settings = dataclasses.replace(settings, draws=draws, keep=kept)
    key = sample_batch.fit_key(problem.seed, batch.tasks[0].fit)
    try:
        found = sample_batch.sample_batch(batch, settings, key[None], log)
    except NotEnoughMemory:
        raise
    except StudyError as error:
        return failed_trial(problem, str(error))
    n_draws = found.iterations[0].n_steps.shape[1] - settings.warmup
    z = _no_draws(problem)
    if n_draws > 0:
        z = np.asarray(problem.vector.pack(in_model(found.z[0]), 2))
    return _seen(Trial(z, gradients_of(found)), found, settings)


def failed_trial(problem: Problem, reason: str) -> TrialResult:
    """Give what was seen of a candidate that could not be sampled."""
    return TrialResult(Trial(_no_draws(problem), np.zeros(CHAINS, int)), 0.0, 0, 0.0, reason)


def _no_draws(problem: Problem) -> np.ndarray:
    return np.zeros((CHAINS, 0, len(problem.vector.names)))


def gradients_of(found: sampler.Draws) -> np.ndarray:
    """Leapfrogs of the chains of the only fit, `(chain,)`, with those beyond the draws that all chains have."""
    own = found.iterations[0].n_steps.sum(axis=1)
    return np.array([one.leapfrogs for one in found.stopped][0]) if found.stopped else own


def _seen(trial: Trial, found: sampler.Draws, settings: SamplerSettings) -> TrialResult:
    own, warmup = found.iterations[0], settings.warmup
    n_steps = own.n_steps
    cut = float((n_steps >= 2**settings.max_tree_depth - 1).mean()) if n_steps.size else 1.0
    total = max(1, int(trial.gradients.sum()))
    spent = n_steps[:, :warmup].sum() / total if trial.z.shape[1] else 1.0
    return TrialResult(trial, cut, int(own.diverging[:, warmup:].sum()), float(spent))


def slices_of_sites(vector: Vector) -> Sequence[tuple[str, slice]]:
    """Where each site lies in the vector."""
    found, start = [], 0
    for name, shape in vector.shapes.items():
        stop = start + math.prod(shape)
        found.append((name, slice(start, stop)))
        start = stop
    return found
