"""What the checks of one data set ask: its rows, its prior, its random numbers, and the likelihood."""

import functools
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from scalecheck.checks.moments import Prior
from scalecheck.data import store
from scalecheck.evaluation.likelihood import Likelihood
from scalecheck.files import formats
from scalecheck.files.layout import StudyFolder
from scalecheck.model import binding
from scalecheck.model.coupling import Coupling, read_coupling
from scalecheck.model.rows import ByRow
from scalecheck.study.plan import Slice
from scalecheck.study.settings import ModelSettings

Read = Callable[[Sequence[Slice], Sequence[str]], dict[str, ByRow]]


@dataclass(frozen=True)
class StudyData:
    """One data set and the model; to be asked under `jax.enable_x64(True)`.

    Attributes
    ----------
    likelihood
        The compiled model, which data sets of one study share.
    read
        `(slices, columns) -> {column: (rows,)}`.
    prior
        Prior moments of the compared parameters, as `check_study` found them.
    seed
        Of the study.
    """

    likelihood: Likelihood
    read: Read
    prior: Prior
    seed: int

    def rng(self, purpose: str) -> np.random.Generator:
        """Random numbers for one purpose, the same whatever else is run."""
        return np.random.default_rng([self.seed, zlib.crc32(purpose.encode())])

    def columns(self, slices: Sequence[Slice], extra: Sequence[str] = ()) -> dict[str, ByRow]:
        """Read the model's columns of some rows, the units', and others by name: `(rows,)` each."""
        return self.read(slices, self.likelihood.model.columns_with(self.likelihood.unit, *extra))

    @property
    def names(self) -> tuple[str, ...]:
        """Names `(d,)` of the compared parameters."""
        return self.likelihood.vector.names


def open_likelihood(folder: StudyFolder, settings: ModelSettings, outcome: str) -> Likelihood:
    """Load and bind the model of a study that was prepared."""
    meta = store.read_meta(folder.data)
    bound = binding.bind(binding.load_model(settings), settings, outcome, meta.labels, meta.common)
    return likelihood_of(folder, bound, settings.compare, read_coupling(folder))


def likelihood_of(
    folder: StudyFolder, bound: binding.Model, compare: Sequence[str] | None, coupling: Coupling
) -> Likelihood:
    """Give the likelihood of a bound model, whose first rows stand in the store."""
    meta = store.read_meta(folder.data)
    first = [Slice("arrival", 0, min(2, meta.n_rows))]
    few = store.read_rows(folder.data, first, bound.columns_with(meta.unit))
    return Likelihood(bound, meta.labels, meta.unit, compare, few, coupling)


def open_study_data(
    folder: StudyFolder, settings: ModelSettings, outcome: str, seed: int
) -> StudyData:
    """Open the data of a study that was prepared, and its model.

    Parameters
    ----------
    folder
        Of the study's results, with data.nc and model.json.
    settings
        The section `model`.
    outcome
        `data.outcome`.
    seed
        Of the study.
    """
    read = functools.partial(store.read_rows, folder.data)
    return StudyData(open_likelihood(folder, settings, outcome), read, read_prior(folder), seed)


def read_prior(folder: StudyFolder) -> Prior:
    """Read the prior moments of the compared parameters."""
    prior = formats.read_json(folder.model)["prior"]
    mean, covariance = (np.array(prior[name], dtype=float) for name in ("mean", "covariance"))
    return Prior(mean, covariance.reshape(len(mean), len(mean)))
