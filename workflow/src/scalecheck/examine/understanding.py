"""How a model was understood, in a few sentences: before the fits, so that who was misunderstood sees it there."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from scalecheck.evaluation.likelihood import Likelihood
from scalecheck.evaluation.unit_scores import no_unit_scores
from scalecheck.model.roles import GROUP, INDEX, PARAMETER, ROW, UNIT, Role
from scalecheck.study.settings import Study


class Understood(NamedTuple):
    """One thing that is known of a model.

    Attributes
    ----------
    topic
        Of `compared`, `index`, `group`, `unit`, `row`, `shared`, or a family that will not run.
    sentence
        What is known, and the key that corrects it where there is one.
    """

    topic: str
    sentence: str


def understand(likelihood: Likelihood, study: Study, rarest: Mapping[str, int]) -> list[Understood]:
    """Say which sites are compared, which are groups, what subsets share, and which families will not run.

    Parameters
    ----------
    study
        `data`, `subsets` and `increments`.
    rarest
        Rows of the rarest label of each categorical column.
    """
    return [
        *_of_roles(likelihood, rarest),
        *_of_shared(likelihood),
        *(Understood(family, f"will not run: {why}") for family, why in _idle(likelihood, study)),
    ]


def _of_roles(likelihood: Likelihood, rarest: Mapping[str, int]) -> Iterator[Understood]:
    roles = likelihood.roles
    names = [role.site for role in roles if role.compared]
    yield Understood("compared", f"{_listed(names)} {_are(names)} compared across fits")
    plain = [one.site for one in roles if one.role == PARAMETER and not one.compared]
    if plain:
        yield Understood("compared", f"model.compare leaves out {_listed(plain)}")
    for role in roles:
        if role.role == INDEX:
            levels = _levels(likelihood, role, rarest)
            said = "as any parameter" if role.compared else "and left out by model.compare"
            yield (
                Understood(INDEX, f"{role.site} is indexed by {levels}: compared {said}")
                if role.compared
                else Understood(INDEX, f"{role.site} is indexed by {levels}, {said}")
            )
        if role.role == GROUP:
            yield Understood(GROUP, _of_group(likelihood, role, rarest))
    for kind, what in ((UNIT, f"the units of {likelihood.unit}"), (ROW, "rows")):
        own = [role.site for role in roles if role.role == kind]
        if own:
            yield Understood(kind, f"{_listed(own)} {_belong(own)} to {what}: each fit has its own")


def _of_group(likelihood: Likelihood, role: Role, rarest: Mapping[str, int]) -> str:
    levels = _levels(likelihood, role, rarest)
    if role.compared:
        return f"{role.site} is indexed by {levels}, of which a fit may lack some: compared, as model.compare says"
    way_out = (
        f"data.unit: {role.columns[0]} keeps its levels whole, where they have fewer rows than a subset"
        if likelihood.unit is None and len(role.columns) == 1
        else "model.compare can name it"
    )
    return f"{role.site} is a group, indexed by {levels}, of which a fit may lack some: not compared ({way_out})"


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
    if study.subsets.count < 3:
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


def _describe(names: Sequence[str]) -> str:
    return "describe" if len(names) > 1 else "describes"
