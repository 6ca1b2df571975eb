"""The record of a fit, `record.json`: what was run, on what, and what it took. config/README.md lists its keys."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from scalecheck.errors import StudyError
from scalecheck.files import formats
from scalecheck.files.formats import PlannedRow


@dataclasses.dataclass(frozen=True)
class RecordedGradients:
    """Leapfrogs of each chain: of what is kept, of chains that began anew, and beyond where a fit was ended."""

    warmup: Sequence[int] = ()
    sampling: Sequence[int] = ()
    discarded: Sequence[int] = ()
    cut: Sequence[int] = ()

    @property
    def total(self) -> int:
        """Of all chains, whatever became of them."""
        return sum(map(sum, (self.warmup, self.sampling, self.discarded, self.cut)))


@dataclasses.dataclass(frozen=True)
class EarlyEnd:
    """The chains for which a fit was ended, why, and the iterations and leapfrogs of every chain by then."""

    chains: Sequence[int]
    iterations: Sequence[int]
    leapfrogs: Sequence[int]
    reason: str


@dataclasses.dataclass(frozen=True)
class RecordedWindow:
    """A window of warmup: where it ends, and what each chain had by then; of a large metric its quantiles."""

    stop: int
    step_size: Sequence[float]
    acceptance_rate: Sequence[float]
    inverse_mass_matrix: Sequence[Sequence[float]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecordedAudit:
    """How a warm increment compares with a cold fit of its rows; without p where that was stopped."""

    p: float | None
    parameter: int | None = None
    statistic: str | None = None
    gap: float | None = None
    gradients: RecordedGradients
    seconds: Mapping[str, float]
    cpu_seconds: Mapping[str, float]
    draws: int


@dataclasses.dataclass(frozen=True)
class RecordedIntegrals:
    """How well the integrals over units are known: `laplace.integral_audit.IntegralAudit`.

    Attributes
    ----------
    shift, log_sd, effective, fewest
        By how many posterior sds a mean moves with other random numbers, by how much the logarithm of an sd, the share
        of draws that is effective with them, and the smallest effective number of a unit's draws.
    lost, missed
        Pairs of a unit and a draw without a mode; units with another mode that is left out.
    reason
        Why the fit cannot be used; empty where it can.
    """

    shift: float | None = None
    log_sd: float | None = None
    effective: float | None = None
    fewest: float | None = None
    lost: int = 0
    missed: int = 0
    reason: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DivergingRegion:
    """Where iterations diverge: the scalar whose draws there differ most from the others, on the model's scale.

    Attributes
    ----------
    parameter
        Its name.
    near
        What the draws of diverging iterations are near: `small values`, `large values`, `both ends` or `the middle`.
    low, high
        Ends of the equal-tailed 89 % interval of these draws.
    others_low, others_high
        Of the other draws.
    """

    parameter: str
    near: str
    low: float
    high: float
    others_low: float
    others_high: float


@dataclasses.dataclass(frozen=True)
class Move:
    """How far an estimate moves from one fit to another of the same rows.

    Attributes
    ----------
    parameter
        Its name.
    gap, error
        The second fit less the first, in posterior sds of the second; its Monte Carlo standard error.
    p
        Of a gap so large in any mean or sd: Bonferroni.
    """

    parameter: str
    gap: float
    error: float
    p: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecordedRefit:
    """A second fit of the rows of one that diverged, with smaller steps.

    Attributes
    ----------
    target_accept
        Its own.
    divergences, draws
        Divergences after warmup by chain, draws per chain.
    usable
        Whether its draws can be used.
    mean, sd
        The estimates that move most; None where the two fits cannot be compared.
    gradients, seconds, cpu_seconds
        What it took.
    """

    target_accept: float
    divergences: Sequence[int]
    draws: int
    usable: bool
    mean: Move | None
    sd: Move | None
    gradients: RecordedGradients
    seconds: Mapping[str, float]
    cpu_seconds: Mapping[str, float]

    @property
    def divergent_share(self) -> float:
        """Share of its draws that diverged."""
        return _share(self.divergences, self.draws)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitRecord(PlannedRow):
    """What is known of a fit beside its draws, in the order of `record.json`.

    Attributes
    ----------
    status, reason
        Why a fit was stopped or skipped; empty where it was done.
    capped, stalled
        The chains that ended it early.
    settings
        The sections that it depends on, as its program was given them.
    identity
        What its draws depend on, as digests: `fitting.fit_identity.Identity`.
    engine_version, versions
        Of what computed it.
    platform, device, gpu, override, note
        From `device.check_device`.
    dtype
        `sampler.precision`.
    batch
        Fits that were sampled with it.
    warmup, draws
        Iterations per chain.
    padded_rows
        Rows with what pads small fits.
    seconds, cpu_seconds
        By phase.
    compiled
        Programs, and seconds of tracing, lowering and compiling: its share of those of its batch.
    usable
        Whether its draws can be used.
    seconds_per_gradient
        Of one chain; None where it was not timed.
    gradients, divergences, step_size
        By chain: leapfrogs, divergences after warmup, and the last step size.
    discarded
        Chains that stalled and began anew.
    moments
        How well chains agree in the sites that are not kept.
    integrals
        Of a fit whose units are integrated out: how well their integrals are known.
    diverging
        Where iterations diverged; None where they did so in no particular place, or never.
    refit
        Of a fit that diverged so often that it was fitted again, with smaller steps.
    depth_saturated
        Share of the iterations after warmup whose tree was cut; None without any.
    windows
        Of warmup.
    parameters
        Names of the compared scalars.
    unit_parameters
        Whether parameters grow with the rows.
    sha256
        Digests of its files.
    audit
        Of a warm increment that was fitted cold as well.
    stop, looked
        Of an increment that was looked at: why to stop after it, or empty; and a digest of what that depends on.
    """

    status: Literal["done", "stopped", "skipped"]
    reason: str = ""
    capped: EarlyEnd | None = None
    stalled: EarlyEnd | None = None
    settings: Mapping[str, Any]
    identity: Mapping[str, Any] | None = None
    engine_version: int
    versions: Mapping[str, str]
    platform: str = ""
    device: str = ""
    gpu: str | None = None
    override: str = ""
    note: str = ""
    dtype: str = ""
    batch: Sequence[str] = ()
    warmup: int = 0
    padded_rows: int = 0
    seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    cpu_seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    compiled: Mapping[str, float] = dataclasses.field(default_factory=dict)
    draws: int = 0
    usable: bool = False
    seconds_per_gradient: float | None = None
    gradients: RecordedGradients = RecordedGradients()
    discarded: Sequence[Mapping[str, int]] = ()
    step_size: Sequence[float] = ()
    moments: Mapping[str, Any] | None = None
    divergences: Sequence[int] = ()
    integrals: RecordedIntegrals | None = None
    diverging: DivergingRegion | None = None
    refit: RecordedRefit | None = None
    depth_saturated: float | None = None
    windows: Sequence[RecordedWindow] = ()
    parameters: Sequence[str] = ()
    unit_parameters: bool = False
    sha256: Mapping[str, str] | None = None
    audit: RecordedAudit | None = None
    stop: str | None = None
    looked: str | None = None

    @property
    def divergent_share(self) -> float:
        """Share of its draws that diverged."""
        return _share(self.divergences, self.draws)


def _share(divergences: Sequence[int], draws: int) -> float:
    n_draws = draws * len(divergences)
    return sum(divergences) / n_draws if n_draws else 0.0


# All that there is of an increment that was not fitted.
_OF_SKIPPED = ("status", "reason", "settings", "engine_version", "versions", "sha256")
# Left out where they are None; elsewhere None is written as null.
_OPTIONAL = ("identity", "sha256", "integrals", "diverging", "refit", "audit", "stop", "looked")
_OPTIONAL += ("parameter", "statistic", "gap")


def audit_of(cold: FitRecord, p: float | None = None, **compared: Any) -> RecordedAudit:
    """Give how an increment compares with a cold fit of its rows, and what that took."""
    return RecordedAudit(
        p=p,
        **compared,
        gradients=cold.gradients,
        seconds=cold.seconds,
        cpu_seconds=cold.cpu_seconds,
        draws=cold.draws,
    )


def as_json(record: FitRecord) -> dict[str, Any]:
    """Give the content of `record.json`."""
    content = dataclasses.asdict(record, dict_factory=_known)
    names = (*formats.PLAN_COLUMNS, *_OF_SKIPPED) if record.status == "skipped" else content
    return {name: content[name] for name in names if name in content}


def _known(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in pairs if value is not None or name not in _OPTIONAL}


def _taken(kind: Any, content: Mapping[str, Any]) -> Any:
    """Give a dataclass what it has fields for: JSON may have keys more."""
    names = [one.name for one in dataclasses.fields(kind)]
    return kind(**{name: content[name] for name in names if name in content})


def early_end(content: Mapping[str, Any] | None) -> EarlyEnd | None:
    """Read why a fit was ended early."""
    return _taken(EarlyEnd, content) if content else None


def of_json(content: Mapping[str, Any]) -> FitRecord:
    """Read the content of `record.json`; what an earlier version did not write has its default.

    Raises
    ------
    TypeError
        When it is no record.
    """
    audit, region = content.get("audit"), content.get("diverging")
    integrals = content.get("integrals")
    parts = {
        "capped": early_end(content.get("capped")),
        "stalled": early_end(content.get("stalled")),
        "gradients": _gradients(content),
        "windows": [_taken(RecordedWindow, one) for one in content.get("windows", ())],
        "audit": _taken(RecordedAudit, {**audit, "gradients": _gradients(audit)})
        if audit
        else None,
        "integrals": _taken(RecordedIntegrals, integrals) if integrals else None,
        "diverging": _taken(DivergingRegion, region) if region else None,
        "refit": _refit(content.get("refit")),
    }
    return _taken(FitRecord, {**content, **parts})


def _gradients(content: Mapping[str, Any]) -> RecordedGradients:
    return _taken(RecordedGradients, content.get("gradients", {}))


def _refit(content: Mapping[str, Any] | None) -> RecordedRefit | None:
    if not content:
        return None
    moves = {
        name: _taken(Move, one) if (one := content.get(name)) else None for name in ("mean", "sd")
    }
    return _taken(RecordedRefit, {**content, **moves, "gradients": _gradients(content)})


def read(path: Path) -> FitRecord:
    """Read a record without a look at its checksum, as whoever watches does.

    Raises
    ------
    StudyError
        When it is missing or damaged.
    """
    try:
        return of_json(formats.read_json(path))
    except TypeError:
        raise StudyError(f"{path}: damaged: it is no record: delete it and run again") from None


def peek(path: Path) -> FitRecord | None:
    """Read a record that may be missing or damaged, and is None then: whatever needs it says so."""
    found = formats.peek_json(path)
    try:
        return of_json(found) if found else None
    except (AttributeError, TypeError):
        return None
