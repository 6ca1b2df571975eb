"""The settings of a study, frozen, spelled as in the study file."""

import dataclasses
import json
from typing import Any, Literal, get_type_hints

from scalecheck.errors import StudyError


@dataclasses.dataclass(frozen=True)
class DataSettings:
    """The table, what is observed in it, and how its rows are grouped and ordered."""

    file: str
    outcome: str
    expand: dict[str, str] | None
    order: str | None
    unit: str | None
    categories: tuple[str, ...]
    axes: tuple[str, ...]
    missing: Literal["error", "drop"]
    made_by: str | None = None
    truth: str | None = None


@dataclasses.dataclass(frozen=True)
class ModelSettings:
    """Where the NumPyro model is and which columns its arguments take."""

    file: str
    function: str
    arguments: dict[str, str | list[str]]
    compare: tuple[str, ...] | None


@dataclasses.dataclass(frozen=True)
class SubsetSettings:
    """Small fits that should agree; sizes in rows."""

    count: int
    size: int
    levels: int


@dataclasses.dataclass(frozen=True)
class IncrementSettings:
    """Nested fits that grow; `start` and `end` in rows."""

    start: int
    factor: float
    end: int | Literal["all"] | None
    order: Literal["arrival", "random"]
    stop: Literal["misfit", "never"]
    warm: bool
    cold_audit: int


@dataclasses.dataclass(frozen=True)
class SamplerSettings:
    """How each fit is sampled; `warmup` and `draws` are iterations per chain."""

    engine: Literal["lanes", "numpyro"]
    chains: int
    warmup: int
    draws: int
    target_accept: float
    max_tree_depth: int
    metric: str | list[list[str]]
    precision: Literal["float32", "float64"]
    keep: tuple[str, ...] | None
    start: str
    on_stall: Literal["restart", "stop", "ignore"]
    max_gradients: int | None
    reparam: dict[str, float]


@dataclasses.dataclass(frozen=True)
class BudgetSettings:
    """What the increments together, and the full fit, may cost: seconds, and the price of an hour."""

    seconds: float | None
    price_per_hour: float | None


@dataclasses.dataclass(frozen=True)
class VerdictSettings:
    """Family-wise error rate, and data sets simulated for an exact calibration."""

    alpha: float
    simulate: int


@dataclasses.dataclass(frozen=True)
class VariationalSettings:
    """How all rows are approximated: family, rows of a minibatch, steps at most, data sets simulated."""

    guide: Literal["mean_field", "low_rank", "flow"]
    batch: int | None
    steps: int
    simulate: int


def may_approximate(approximation: str, budget: BudgetSettings) -> bool:
    """Whether all rows may have to be approximated: always, or where there is a budget that can be exceeded."""
    return approximation == "always" or (approximation == "auto" and budget.seconds is not None)


@dataclasses.dataclass(frozen=True)
class Study:
    """All settings of a study, spelled as in the study file."""

    study: str
    seed: int
    results: str
    data: DataSettings
    model: ModelSettings
    subsets: SubsetSettings
    increments: IncrementSettings
    sampler: SamplerSettings
    budget: BudgetSettings
    verdict: VerdictSettings
    approximation: str
    variational: VariationalSettings
    remedies: str
    batches: int | str

    def sections(self, *names: str) -> str:
        """Give these sections as one line of JSON with sorted keys, equal for equal settings.

        A rule's parameters hold only what its program depends on, so that a change elsewhere in the
        study file reruns nothing. `section.key` names a single key; without names, all sections. What the table
        was drawn from changes neither rows nor fits: `data` has it only without names.
        """
        whole = dataclasses.asdict(self)
        if not names:
            return json.dumps(whole, sort_keys=True)
        chosen: dict[str, Any] = {}
        for name in names:
            section, _, key = name.partition(".")
            if key:
                chosen.setdefault(section, {})[key] = whole[section][key]
            elif section == "data":
                chosen[section] = {k: v for k, v in whole[section].items() if k != "truth"}
            else:
                chosen[section] = whole[section]
        return json.dumps(chosen, sort_keys=True)


SECTIONS = {
    name: hint for name, hint in get_type_hints(Study).items() if dataclasses.is_dataclass(hint)
}


def parse_sections(text: str) -> dict[str, Any]:
    """Read back what `Study.sections` wrote: a settings object per whole section, else the value.

    Raises
    ------
    StudyError
        When the text is no JSON object.
    """
    try:
        given = json.loads(text)
    except json.JSONDecodeError as error:
        raise StudyError(f"--settings must be JSON as Study.sections writes it: {error}") from None
    return {name: section_of(name, value) for name, value in given.items()}


def section_of(name: str, value: Any) -> Any:
    """Freeze a section as its settings object; other values, and parts of a section, stay."""
    kind: Any = SECTIONS.get(name)
    if kind is None:
        return value
    needed = {one.name for one in dataclasses.fields(kind) if one.default is dataclasses.MISSING}
    frozen = {key: _frozen(key, part) for key, part in value.items()}
    return kind(**frozen) if needed <= set(frozen) else frozen


_TUPLES = {"categories", "axes", "compare", "keep"}
_FLOATS = {"factor", "target_accept", "seconds", "price_per_hour", "alpha"}


def _frozen(key: str, value: Any) -> Any:
    """Make lists tuples, and `factor: 2` equal to `factor: 2.0`."""
    if key == "reparam":
        return {name: float(centredness) for name, centredness in value.items()}
    if value is not None and key in _TUPLES:
        return tuple(value)
    return float(value) if value is not None and key in _FLOATS else value
