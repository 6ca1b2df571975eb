"""How a model was understood, in a few sentences: before the fits, so that who was misunderstood sees it there."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from scalecheck.evaluation.likelihood import Likelihood
from scalecheck.evaluation.observed_rows import observed_rows
from scalecheck.evaluation.unit_scores import no_unit_scores
from scalecheck.model.roles import GROUP, INDEX, MOST_ENTRIES, PARAMETER, ROW, UNIT, Role
from scalecheck.model.rows import ByRow
from scalecheck.study.settings import Study

_MOST_LABELS = 8


class Understood(NamedTuple):
    """One thing that is known of a model.

    Attributes
    ----------
    topic
        Of `outcome`, `rows`, `compared`, `index`, `group`, `unit`, `row`, `shared`, or a family that will not run.
    sentence
        What is known, and the key that corrects it where there is one.
    """

    topic: str
    sentence: str


def understand(
    likelihood: Likelihood,
    study: Study,
    rarest: Mapping[str, int],
    values: Mapping[str, ByRow],
) -> list[Understood]:
    """Say which sites are compared, which are groups, what subsets share, and which families will not run.

    Parameters
    ----------
    study
        `data`, `subsets` and `increments`.
    rarest
        Rows of the rarest label of each categorical column.
    values
        Columns `(rows,)` of the first rows, as many as are looked at together.
    """
    return [
        *_of_outcome(likelihood, values),
        *_of_rows(likelihood),
        *_of_roles(likelihood, rarest),
        *_of_shared(likelihood),
        *(Understood(family, f"will not run: {why}") for family, why in _idle(likelihood, study)),
    ]


def _of_outcome(likelihood: Likelihood, values: Mapping[str, ByRow]) -> Iterator[Understood]:
    outcome, site = likelihood.model.outcome, likelihood.described_outcome
    yield Understood("outcome", f"{outcome} is {'discrete' if site.discrete else 'continuous'}")
    for column in likelihood.model.arguments[outcome].columns:
        if labels := likelihood.labels[column]:
            codes = ", ".join(
                f"{label} = {code}" for code, label in enumerate(labels[:_MOST_LABELS])
            )
            more = ", ..." if len(labels) > _MOST_LABELS else ""
            yield Understood(
                "outcome",
                f"{column} holds labels: {codes}{more} (data.categories can give their order)",
            )
    if likelihood.no_predictions():
        kinds = [name for name in ("masked", "censored") if getattr(site, name)]
        if kinds:
            yield Understood("outcome", f"some of its rows may be {_listed(kinds)}")
        return
    if site.masked or site.censored:
        rows = observed_rows(likelihood, values)
        n_rows = len(rows.takes_part)
        n_masked, n_censored = n_rows - int(rows.takes_part.sum()), int(rows.censored.sum())
        if site.masked:
            yield Understood(
                "outcome", f"{n_masked} of {n_rows} rows are masked: they take no part"
            )
        if site.censored:
            said = f"{n_censored} of {n_rows} rows are censored: surprise draws their true values"
            telling = likelihood.censoring_columns
            out = (
                f", and leaves out {_listed(telling)}, which {_tell(telling)} which"
                if telling
                else ""
            )
            yield Understood("outcome", said + out)


def _of_rows(likelihood: Likelihood) -> Iterator[Understood]:
    coupling = likelihood.coupling
    if coupling.ordered and coupling.blocks:
        said = (
            "each row continues its neighbours: subsets are blocks of neighbours, not random rows"
        )
    elif coupling.ordered:
        said = "each row continues those before it: no subset can be fitted alone"
    elif coupling.kind == "joint":
        said = "rows share one density, whatever their order"
    else:
        said = "rows are independent, given the parameters"
    yield Understood("rows", said)


def _of_roles(likelihood: Likelihood, rarest: Mapping[str, int]) -> Iterator[Understood]:
    roles = likelihood.roles
    names = [role.site for role in roles if role.compared]
    yield Understood("compared", f"{_listed(names)} {_are(names)} compared across fits")
    left_out = [one.site for one in roles if one.role in (PARAMETER, INDEX) and not one.compared]
    if left_out:
        yield Understood("compared", f"model.compare leaves out {_listed(left_out)}")
    for role in roles:
        if role.role == INDEX:
            levels = _levels(likelihood, role, rarest)
            yield Understood(
                INDEX,
                f"{role.site} has an entry for each of {levels}: random subsets have rows of each",
            )
        if role.role == GROUP:
            yield Understood(GROUP, _of_group(likelihood, role, rarest))
    for kind, what in ((UNIT, f"the units of {likelihood.unit}"), (ROW, "rows")):
        own = [role.site for role in roles if role.role == kind]
        if own:
            yield Understood(kind, f"{_listed(own)} {_belong(own)} to {what}: each fit has its own")


def _of_group(likelihood: Likelihood, role: Role, rarest: Mapping[str, int]) -> str:
    site = next(one for one in likelihood.sites if one.name == role.site)
    if site.parents:
        why = f"drawn from a population that {_listed(site.parents)} {_describe(site.parents)}"
    elif math.prod(site.shape) > MOST_ENTRIES:
        why = f"{math.prod(site.shape)} entries, where at most {MOST_ENTRIES} are compared"
    else:
        why = "of which a fit may lack some"
    said = f"{role.site} is a group, with {_levels(likelihood, role, rarest)}, {why}"
    if role.compared:
        return f"{said}: compared, because model.compare names it"
    whole = (
        f"data.unit: {role.columns[0]} keeps them whole where they have fewer rows than a subset, "
    )
    can_be_units = likelihood.unit is None and len(role.columns) == 1
    return f"{said}: not compared ({whole if can_be_units else ''}model.compare can name it)"


def _levels(likelihood: Likelihood, role: Role, rarest: Mapping[str, int]) -> str:
    parts = [
        f"{len(likelihood.labels[column] or ())} levels of {column} (the rarest has {rarest[column]} rows)"
        for column in role.columns
    ]
    return " and ".join(parts)


def _of_shared(likelihood: Likelihood) -> Iterator[Understood]:
    described = [s.name for s in likelihood.compared if s.name not in likelihood.estimated_anew]
    if described:
        yield Understood(
            "shared",
            f"{_listed(described)} {_describe(described)} levels that all subsets share: agreement of subsets leaves"
            f" {'them' if len(described) > 1 else 'it'} out",
        )
    if likelihood.shared:
        names = [site.name for site in likelihood.shared]
        yield Understood(
            "shared",
            f"all subsets share {_listed(names)}: that they agree too well is not asked",
        )


def _idle(likelihood: Likelihood, study: Study) -> Iterator[tuple[str, str]]:
    """Families that will not run, and why: as far as model and settings tell before the fits."""
    if likelihood.coupling.ordered and not likelihood.coupling.blocks:
        yield "agreement", "no subset can be fitted without the rows before it"
        yield "effort", "no subset can be fitted without the rows before it"
    elif study.subsets.count < 3:
        yield "agreement", f"subsets.count is {study.subsets.count}, and it compares at least 3"
        yield "effort", f"subsets.count is {study.subsets.count}, and it compares at least 3"
    elif not likelihood.estimated_anew:
        yield "agreement", "all that is compared describes levels that all subsets share"
    by_time = study.increments.order == "arrival"
    why = likelihood.no_row_checks() if not likelihood.between else no_unit_scores(likelihood)
    if not study.data.axes and not by_time:
        why = "data.axes names no axis, and rows come in random order"
    if why:
        yield "heterogeneity", why
    if why := likelihood.no_new_rows():
        yield "surprise", why


def _listed(names: Sequence[str]) -> str:
    if not names:
        return "nothing"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _are(names: Sequence[str]) -> str:
    return "are" if len(names) > 1 else "is"


def _belong(names: Sequence[str]) -> str:
    return "belong" if len(names) > 1 else "belongs"


def _tell(names: Sequence[str]) -> str:
    return "tell" if len(names) > 1 else "tells"


def _describe(names: Sequence[str]) -> str:
    return "describe" if len(names) > 1 else "describes"
