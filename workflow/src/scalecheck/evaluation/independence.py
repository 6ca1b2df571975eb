"""What of a model is independent given the compared parameters: rows, or whole units, or nothing smaller."""

from collections.abc import Sequence
from typing import NamedTuple

from scalecheck.model.sites import ROWS, Site


class Structure(NamedTuple):
    """What is independent given the compared parameters.

    Attributes
    ----------
    by
        `row` or `unit`; empty where neither is, or none that the checks can tell.
    reason
        Why neither, as part of a sentence.
    """

    by: str
    reason: str = ""


def structure(hidden: Sequence[Site], unit: str | None) -> Structure:
    """Find what is independent given the compared parameters.

    Parameters
    ----------
    hidden
        Latent sites that are not compared.
    unit
        `data.unit`.

    Returns
    -------
    Structure
        `row` where hidden sites, if any, belong to one row each; `unit` where they belong to one unit
        each, or to one of its rows.
    """
    for site in hidden:
        if reason := _reason(site, unit):
            return Structure("", reason)
    return Structure("unit" if any(unit in site.indexed_by for site in hidden) else "row")


def _reason(site: Site, unit: str | None) -> str:
    """Say why a latent site belongs to no single unit or row, or nothing."""
    columns = " and ".join(site.indexed_by)
    if not site.indexed_by:
        return f"model.compare leaves out the latent site {site.name}, which all rows share"
    if len(site.indexed_by) > 1:
        return f"the latent site {site.name} is indexed by {columns}, so that no unit has its own part of it"
    if columns not in (ROWS, unit):
        return _foreign(site.name, columns, unit)
    if columns not in dict(site.plates):
        entries = "rows" if columns == ROWS else f"levels of {columns}"
        return (
            f"the latent site {site.name} stands in no plate over the {entries}: as for a time series or a"
            " Gaussian process, no part of its density belongs to one of them"
        )
    return ""


def _foreign(name: str, column: str, unit: str | None) -> str:
    if unit is None:
        return f"the latent site {name} is indexed by {column}: set data.unit to {column}"
    return (
        f"the latent site {name} is indexed by {column} but data.unit is {unit}: with crossed or nested"
        " latent sites no unit is independent of the others"
    )
