"""The settings of a study, frozen, spelled as in the study file."""

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from scalecheck.errors import StudyError
from scalecheck.files import formats


class _Given:
    """Settings of which a program is given those that its rule passes."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the rule of this program passes no {name} of {type(self).__name__}")


@dataclasses.dataclass(frozen=True)
class DataSettings(_Given):
    """The table, what is observed in it, and how its rows are grouped and ordered."""

    file: str
    outcome: str
    expand: dict[str, str] | None
    order: str | None
    unit: str | None
    categories: tuple[str | dict[str, list[str]], ...]
    axes: tuple[str, ...]
    missing: Literal["error", "drop"]
    made_by: str | None = None
    truth: str | None = None

    @property
    def labelled(self) -> dict[str, tuple[str, ...] | None]:
        """Columns that `categories` names, with their labels in the order given; None for one without an order."""
        found: dict[str, tuple[str, ...] | None] = {}
        for entry in self.categories:
            if isinstance(entry, str):
                found[entry] = None
            else:
                found |= {column: tuple(labels) for column, labels in entry.items()}
        return found


@dataclasses.dataclass(frozen=True)
class ModelSettings(_Given):
    """Where the NumPyro model is and which columns its arguments take."""

    file: str
    function: str
    arguments: dict[str, str | list[str]]
    compare: tuple[str, ...] | None


@dataclasses.dataclass(frozen=True)
class SubsetSettings(_Given):
    """Small fits that should agree; sizes in rows."""

    count: int
    size: int
    levels: int


@dataclasses.dataclass(frozen=True)
class IncrementSettings(_Given):
    """Nested fits that grow; `start` and `end` in rows."""

    start: int
    factor: float
    end: int | Literal["all"] | None
    order: Literal["arrival", "random"]
    stop: Literal["misfit", "never"]
    warm: bool
    cold_audit: int

    def is_audited(self, number: int) -> bool:
        """Whether an increment, the first being number 0, is fitted cold as well where it starts warm."""
        return self.warm and number % self.cold_audit == 0


@dataclasses.dataclass(frozen=True)
class SamplerSettings(_Given):
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
    marginalise: Literal["units"] | None


def without_later_keys(sampler: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the keys of `sampler` that older studies lack and that have their defaults: fits of these stand."""
    return {
        name: value for name, value in sampler.items() if (name, value) != ("marginalise", None)
    }


@dataclasses.dataclass(frozen=True)
class BudgetSettings(_Given):
    """What the increments together, and the full fit, may cost: seconds, and the price of an hour."""

    seconds: float | None
    price_per_hour: float | None


@dataclasses.dataclass(frozen=True)
class VerdictSettings(_Given):
    """Family-wise error rate, and data sets simulated for an exact calibration."""

    alpha: float
    simulate: int


@dataclasses.dataclass(frozen=True)
class ApproximationSettings(_Given):
    """Whether and how all rows are approximated; `batch` in rows of a minibatch, `simulate` in data sets."""

    when: Literal["auto", "always", "never"]
    method: Literal["auto", "laplace", "mean_field", "low_rank", "flow"]
    exact: Literal["auto", "nuts"]
    batch: int | None
    steps: int
    simulate: int


def time_axis(data: DataSettings, increments: IncrementSettings) -> str | None:
    """Name the axis of time; None where increments take rows at random."""
    if increments.order != "arrival":
        return None
    # A column may be called so, too.
    return data.order or ("arrival" if "arrival" not in data.axes else "order of arrival")


def may_approximate(approximation: ApproximationSettings, budget: BudgetSettings) -> bool:
    """Whether all rows may have to be approximated: always, or where there is a budget that can be exceeded."""
    when = approximation.when
    return when == "always" or (when == "auto" and budget.seconds is not None)


@dataclasses.dataclass(frozen=True)
class Study(_Given):
    """The settings of a study, spelled as in the study file: all of them, or those that a rule passes."""

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
    approximation: ApproximationSettings
    remedies: str
    batches: int | str

    def sections(self, *names: str) -> str:
        """Give these sections as one line of JSON with sorted keys, equal for equal settings.

        A rule's parameters hold only what its program depends on, so that a change elsewhere in the
        study file reruns nothing. `section.key` names a single key; without names, all sections. What the table
        was drawn from changes neither rows nor fits: `data` has it only without names.
        """
        whole = dataclasses.asdict(self)
        chosen: dict[str, Any] = {}
        for name in names or whole:
            section, _, key = name.partition(".")
            if key:
                chosen.setdefault(section, {})[key] = whole[section][key]
            elif section == "data" and names:
                chosen[section] = {k: v for k, v in whole[section].items() if k != "truth"}
            else:
                chosen[section] = whole[section]
        return json.dumps(chosen, sort_keys=True)

    def digest(self, *names: str) -> str:
        """Give the names of sections, none for all, and a few characters that change with what they say."""
        found = hashlib.blake2b(self.sections(*names).encode(), digest_size=8).hexdigest()
        return f"{','.join(names)}:{found}"


def parse_sections(text: str) -> Study:
    """Read back what `Study.sections` wrote: a study, or the part of one that was asked for."""
    return freeze(Study, json.loads(text))


def write_settings(path: Path, study: Study) -> None:
    """Write the settings of a study for its programs, if they are others than those that are there."""
    text = json.dumps(json.loads(study.sections()), indent=1) + "\n"
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        formats.write_text(path, text)


# Seconds between looks, and looks: a node may see for a minute what a shared folder held before (NFS).
PAUSE, LOOKS = 5.0, 14


def read_settings(
    path: Path, digest: str = "", *, sleep: Callable[[float], None] = time.sleep
) -> Study:
    """Read the settings of a study as `write_settings` wrote them.

    Parameters
    ----------
    digest
        From `Study.digest`, of the settings that they are to be; empty where whoever asks takes any.
    sleep
        Waits for some seconds, where the settings are others, before they are read again.

    Raises
    ------
    StudyError
        When the file is missing, no JSON object, or of other settings for more than a minute.
    """
    for look in range(LOOKS):
        if look:
            sleep(PAUSE)
        if study := _settings_in(path, digest):
            return study
    raise StudyError(
        f"{path}: holds the settings of another run: run again; a workflow that uses this one must call"
        " claim_studies() in its onstart"
    )


def _settings_in(path: Path, digest: str) -> Study | None:
    """Read settings; None where they are others than those that are asked for."""
    try:
        study = parse_sections(path.read_text(encoding="utf-8"))
        names = [name for name in digest.partition(":")[0].split(",") if name]
        return study if not digest or study.digest(*names) == digest else None
    except OSError as error:
        raise StudyError(
            f"{path}: cannot be read: {error.strerror}: claim_studies() writes it as the workflow starts; a"
            " workflow that uses this one must call it in its onstart"
        ) from None
    except (AttributeError, KeyError, TypeError, ValueError):
        raise StudyError(f"{path}: damaged: run again, which writes it anew") from None


def freeze(kind: Any, value: Any) -> Any:
    """Make a value what its type says: settings objects, tuples, and `factor: 2` equal to `factor: 2.0`."""
    if dataclasses.is_dataclass(kind):
        types = get_type_hints(kind)
        return _settings(kind, {name: freeze(types[name], part) for name, part in value.items()})
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    if dict[str, float] in kinds:
        return {name: float(number) for name, number in value.items()}
    if isinstance(value, list) and any(get_origin(one) is tuple for one in kinds):
        return tuple(value)
    return float(value) if isinstance(value, int) and float in kinds else value


def _settings(kind: Any, values: dict[str, Any]) -> Any:
    """Make a settings object of all values that it needs, or of a part of them."""
    needed = {one.name for one in dataclasses.fields(kind) if one.default is dataclasses.MISSING}
    if needed <= values.keys():
        return kind(**values)
    part = object.__new__(kind)
    part.__dict__.update(values)
    return part
