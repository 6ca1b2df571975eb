"""What each latent site is to the comparison of fits: a parameter, an index, a group, or a part of units or rows.

Parameters that are indexed by the levels of a column (`a[treatment]`) are compared as any vector is, where their
prior is fixed and each fit has rows of each level. A site is a group where levels are many, where few rows have some of
them, or where its prior depends on other sites: its entries are a sample from a population, which all subsets share.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from scalecheck.errors import StudyError, did_you_mean
from scalecheck.model.binding import Model
from scalecheck.model.sites import ROWS, Site

# Entries of an index, several columns together. The checks invert covariances of all compared parameters, each of which
# has to converge in each fit: with 20 counties more, 71 of 100 studies of 150 rows a subset were inconclusive, not 8.
MOST_ENTRIES = 20

PARAMETER, INDEX, GROUP, UNIT, ROW = "parameter", "index", "group", "unit", "row"


class Role(NamedTuple):
    """What a latent site is to the comparison of fits.

    Attributes
    ----------
    site
        Its name.
    role
        `parameter`: nothing indexes it. `index`: the levels of columns do, random subsets have rows of each, and its
        prior is fixed. `group`: levels do that are many, or rare, or drawn from a population that is learned. `unit`:
        the levels of `data.unit`. `row`: the rows.
    columns
        What indexes it.
    compared
        Whether its posteriors are compared across fits.
    """

    site: str
    role: str
    columns: tuple[str, ...]
    compared: bool


def find_roles(
    model: Model, sites: Sequence[Site], unit: str | None, compare: Sequence[str] | None
) -> tuple[Role, ...]:
    """Say what each latent site is, and whether it is compared.

    Parameters
    ----------
    unit
        `data.unit`.
    compare
        `model.compare`: what is compared, whatever the data say.

    Raises
    ------
    StudyError
        When `compare` names no latent site, or one of units or rows, which are others in each fit.
    """
    found = [_role(model, site, unit) for site in sites if site.kind == "latent"]
    if compare is None:
        return tuple(found)
    known = {role.site: role for role in found}
    for name in compare:
        if name not in known:
            raise StudyError(
                f"{model.file}: model.compare names {name}, which is no latent site{did_you_mean(name, known)}"
            )
        if known[name].role in (UNIT, ROW):
            raise StudyError(
                f"{model.file}: model.compare names {name}, which is indexed by {', '.join(known[name].columns)}:"
                " each fit has others of them"
            )
    return tuple(role._replace(compared=role.site in compare) for role in found)


def _role(model: Model, site: Site, unit: str | None) -> Role:
    columns = site.indexed_by
    if not columns:
        return Role(site.name, PARAMETER, (), compared=True)
    if ROWS in columns:
        return Role(site.name, ROW, columns, compared=False)
    if unit in columns:
        return Role(site.name, UNIT, columns, compared=False)
    if site.parents or np.prod(site.shape) > MOST_ENTRIES or not model.common.issuperset(columns):
        return Role(site.name, GROUP, columns, compared=False)
    return Role(site.name, INDEX, columns, compared=True)


def compared_sites(
    model: Model, sites: Sequence[Site], unit: str | None, compare: Sequence[str] | None
) -> tuple[Site, ...]:
    """Choose the latent sites whose posteriors are compared across fits, in the order asked for."""
    known = {site.name: site for site in sites}
    chosen = [role.site for role in find_roles(model, sites, unit, compare) if role.compared]
    return tuple(known[name] for name in (chosen if compare is None else compare))


# ---- what depends on what


class Dependencies:
    """Which latent sites the density of each sampled site depends on, given the others.

    Parameters
    ----------
    sites
        Of a model; one of them is observed.
    """

    def __init__(self, sites: Sequence[Site]) -> None:
        self.parents = {site.name: frozenset(site.parents) for site in sites}
        self.observed = next(site.name for site in sites if site.kind == "observed")

    def matter_to_rows(self, names: Sequence[str]) -> list[str]:
        """Keep those of some sites that the rows depend on while all others are given, or that such a one depends on.

        What only describes sites that are given says nothing of a row.
        """
        wanted, reached = set(names), {self.observed}
        while True:
            more = {
                parent
                for name in reached
                for parent in self.parents.get(name, frozenset())
                if parent in wanted and parent not in reached
            }
            if not more:
                return [name for name in names if name in reached]
            reached |= more

    def reach_rows(self, own: Sequence[str]) -> set[str]:
        """Name the latent sites that the rows depend on while all others but some are given.

        Parameters
        ----------
        own
            Those others, of which each fit has its own: what they depend on reaches the rows through them.
        """
        reached = set(self.parents[self.observed])
        waiting = [name for name in own if name in reached]
        while waiting:
            more = self.parents[waiting.pop()] - reached
            reached |= more
            waiting += [name for name in own if name in more]
        return reached

    def has_fixed_prior(self, site: str) -> bool:
        """Whether its prior depends on no other site."""
        return not self.parents[site]
