"""A bound model as the checks ask it: its sites, and what it says of rows, compiled once per shape."""

import dataclasses
import functools
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from scalecheck.model import density
from scalecheck.model.binding import Model
from scalecheck.model.coupling import Coupling
from scalecheck.model.outcome import ObservedSite, describe_outcome, why_not_simulated
from scalecheck.model.roles import (
    ROW,
    UNIT,
    Dependencies,
    Role,
    compared_sites,
    find_roles,
)
from scalecheck.model.rows import ByRow, Rows, make_rows
from scalecheck.model.sites import (
    ROWS,
    Site,
    describe_sites,
    function_of_arrays,
    observed_site,
)

Function = Callable[..., Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Likelihood:
    """A model and what is compiled of it; every data set of one shape shares the programs.

    Attributes
    ----------
    model
        The bound model.
    labels
        Labels of each categorical column, None for numbers.
    unit
        `data.unit`.
    compare
        `model.compare`.
    few
        Columns `(rows,)` of a few rows, on which sites are described.
    coupling
        How rows depend on each other.
    """

    model: Model
    labels: Mapping[str, Sequence[str] | None]
    unit: str | None
    compare: Sequence[str] | None
    few: Mapping[str, ByRow]
    coupling: Coupling = Coupling()
    _programs: dict[Hashable, Any] = dataclasses.field(default_factory=dict, init=False)

    def rows(self, values: Mapping[str, ByRow]) -> Rows:
        """Arrange columns `(rows,)` as the model takes them, in double precision."""
        return make_rows(self.model, values, self.labels, precision="float64", unit=self.unit)

    def function(self, counts: Mapping[str, int]) -> Function:
        """Give the model as a function of its arrays: the same object for the same counts, so that JAX knows it."""
        key = ("model", *sorted(counts.items()))
        return self.program(key, lambda: function_of_arrays(self.model, counts))

    def program(self, key: Hashable, build: Callable[[], Any]) -> Any:
        """Give what is compiled under a key, built when it is first asked for."""
        if key not in self._programs:
            self._programs[key] = build()
        return self._programs[key]

    @functools.cached_property
    def sites(self) -> tuple[Site, ...]:
        """Sites of the model."""
        return describe_sites(self.model, self.rows(self.few))

    @functools.cached_property
    def observed(self) -> str:
        """Name of the observed site."""
        return observed_site(self.model, self.sites).name

    @functools.cached_property
    def roles(self) -> tuple[Role, ...]:
        """What each latent site is to the comparison of fits."""
        return find_roles(self.model, self.sites, self.unit, self.compare)

    @functools.cached_property
    def described_outcome(self) -> ObservedSite:
        """Whether rows are masked or censored, and what says so."""
        rows = self.rows(self.few)
        return describe_outcome(self.function(rows.counts), self.observed, rows.arrays)

    @property
    def censoring_columns(self) -> tuple[str, ...]:
        """Columns that tell which outcomes are censored, apart from the outcome."""
        arguments = self.model.arguments
        needed = {
            c for name in self.described_outcome.censoring_needs for c in arguments[name].columns
        }
        return tuple(column for column in self.model.covariates if column in needed)

    @functools.cached_property
    def compared(self) -> tuple[Site, ...]:
        """Latent sites that are compared across fits."""
        return compared_sites(self.model, self.sites, self.unit, self.compare)

    @functools.cached_property
    def hidden(self) -> tuple[Site, ...]:
        """Latent sites that are not compared: they belong to a group, to a row, or were not asked for."""
        names = {site.name for site in self.compared}
        return tuple(s for s in self.sites if s.kind == "latent" and s.name not in names)

    @functools.cached_property
    def dependencies(self) -> Dependencies:
        """Which latent sites the density of each site depends on."""
        return Dependencies(self.sites)

    @functools.cached_property
    def between(self) -> tuple[Site, ...]:
        """Hidden sites that stand between the compared ones and the rows: the rows depend on them, given those."""
        names = self.dependencies.matter_to_rows([site.name for site in self.hidden])
        return tuple(site for site in self.hidden if site.name in names)

    @functools.cached_property
    def shared(self) -> tuple[Site, ...]:
        """Sites between that all fits share: not of rows, nor of units, which are others in each fit."""
        own = {ROWS, self.unit}
        return tuple(site for site in self.between if not own & set(site.indexed_by))

    @functools.cached_property
    def has_separate_rows(self) -> bool:
        """Whether any rows can be asked without the others: nothing is latent in them, and none takes another."""
        own = {ROWS, self.unit}
        return self.coupling.kind == "independent" and not any(
            own & set(site.indexed_by) for site in self.between
        )

    @functools.cached_property
    def vector(self) -> density.Vector:
        """Layout of the compared parameters."""
        rows = self.rows(self.few)
        function = self.function(rows.counts)
        return density.vector_of(function, self.compared, rows.arrays, self.labels)

    @functools.cached_property
    def has_row_likelihood(self) -> bool:
        """Whether each row has a log likelihood of its own."""
        rows = self.rows(self.few)
        return density.has_row_likelihood(self.function(rows.counts), self.observed, rows.arrays)

    @functools.cached_property
    def estimated_anew(self) -> tuple[str, ...]:
        """Compared sites of which each random subset has an estimate of its own.

        Not those that only describe the levels of groups or of an index: any subset sees the same levels.
        """
        roles = {role.site: role.role for role in self.roles}
        anew = self.dependencies.reach_rows([n for n, role in roles.items() if role in (UNIT, ROW)])
        return tuple(site.name for site in self.compared if site.name in anew)

    def no_row_checks(self) -> str | None:
        """Say why the scores of rows cannot be had from this model, or None."""
        if reason := self.no_rows():
            return reason
        if self.between:
            names = ", ".join(site.name for site in self.between)
            return f"the model has latent sites that are not compared across fits ({names})"
        return None

    def no_predictions(self) -> str | None:
        """Say why new rows cannot be compared with predictions of them, or None."""
        if self.coupling.ordered:
            return "the model has each row continue the rows before it, and new rows would continue nothing"
        if self.model.arguments[self.model.outcome].matrix:
            return "the outcome has several columns, and this version ranks one number per row"
        return self.no_rows() or self._no_true_values()

    def _no_true_values(self) -> str | None:
        if self.described_outcome.within:
            return (
                f"the site {self.observed} has a censored distribution within a {self.described_outcome.within}, and"
                " sampling it ignores the censoring: let the censored distribution be the outermost one"
            )
        if self.described_outcome.needs_parameters:
            return f"which rows of the site {self.observed} are masked or censored depends on parameters"
        return None

    def no_simulations(self) -> str | None:
        """Say why outcomes of all rows cannot be simulated in place of those observed, or None."""
        if self.described_outcome.censored:
            return why_not_simulated(self.observed)
        return self.no_predictions()

    def no_new_rows(self) -> str | None:
        """Say why rows cannot be predicted that come after those of a fit, or None."""
        for site in self.between:
            own = {ROWS, self.unit} & set(site.indexed_by)
            if own - {column for column, _ in site.plates}:
                return (
                    f"the latent site {site.name} stands in no plate: as in a time series or a Gaussian"
                    " process, new rows continue the old ones"
                )
        return self.no_predictions()

    def no_rows(self) -> str | None:
        """Say why rows have no part of their own in the log density, or None."""
        if not self.has_row_likelihood:
            return "the model gives its rows no log likelihood one by one"
        factors = [site.name for site in self.sites if site.kind == "factor"]
        if factors:
            return f"the model adds to its density by numpyro.factor ({', '.join(factors)})"
        return None
