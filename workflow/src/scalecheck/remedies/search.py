"""Try candidates one after the other, each with the same gradients, and say which is best."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from scalecheck.errors import NotEnoughMemory
from scalecheck.remedies import neutra, problem, propose, ranking
from scalecheck.remedies.candidate import AS_IT_IS, KINDS, NEUTRA, Candidate, combined
from scalecheck.remedies.search_checkpoint import SearchCheckpoint
from scalecheck.runtime.program import Log


class SearchResult(NamedTuple):
    """What a search found.

    Attributes
    ----------
    table
        A row per candidate, as `ranking.rank_trials` gives it, with `kind` and `failure`.
    best
        The candidate with the highest rate of those that give the same posterior; None where none converged.
    lines
        What to paste into the study file; empty where the fit is best as it is, or no key says it.
    """

    table: pd.DataFrame
    best: Candidate | None
    lines: str


class _Search:
    """Candidates tried so far, in their order."""

    def __init__(self, one: problem.Problem, log: Log, kept: SearchCheckpoint | None) -> None:
        self.problem, self.log, self.kept = one, log, kept
        self.candidates: dict[str, Candidate] = {}
        self.seen: dict[str, problem.TrialResult] = {}
        self.summaries: dict[str, ranking.TrialSummary | None] = {}

    def add(self, candidate: Candidate) -> problem.TrialResult:
        """Try a candidate, unless it was, here or before the search was killed."""
        name = candidate.name
        if name not in self.seen:
            before = self.kept.read(name) if self.kept else None
            run = before or self._try(candidate)
            self.candidates[name], self.seen[name] = candidate, run
            self.summaries[name] = ranking.summarise_trial(run.trial)
            n_draws = run.trial.z.shape[1]
            told = f"{n_draws} draws of {int(run.trial.gradients.sum())} gradients"
            self.log(f"{name}: {run.failure or told}{', kept' if before else ''}")
        return self.seen[name]

    def _try(self, candidate: Candidate) -> problem.TrialResult:
        try:
            if candidate.kind == NEUTRA:
                run = neutra.try_neutra(self.problem, self.log)
            else:  # without a log: a search has one line per candidate
                run = problem.try_candidate(self.problem, candidate, lambda line: None)
        except NotEnoughMemory as error:
            if candidate.kind == AS_IT_IS:
                raise
            # Not kept: where there is more memory, a search that goes on tries it again.
            return problem.failed_trial(self.problem, str(error))
        if self.kept:
            self.kept.write(candidate.name, run)
        return run

    def table(self) -> pd.DataFrame:
        """Rank what was tried so far."""
        trials = {name: seen.trial for name, seen in self.seen.items()}
        return ranking.rank_trials(trials, self.problem.vector.names, self.summaries)

    def best_draws(self) -> np.ndarray:
        """Draws `(chain, draw, d)` of the candidate to learn from: the best, or else that of the highest ESS."""
        if good := self.qualified():
            return self.seen[good[0].name].trial.z
        row = self.table().sort_values("ess", ascending=False).iloc[0]
        return self.seen[str(row["candidate"])].trial.z

    def combine(self) -> None:
        """Add the best of each other kind to the best of all, as long as that helps."""
        good = self.qualified()
        if not good:
            return
        best = good[0]
        for kind in KINDS:
            of_kind = [
                one for one in good if one.kind == kind and not set(one.changes) & set(best.changes)
            ]
            if not of_kind or not self._helps(of_kind[0]):
                continue
            both = combined(best, of_kind[0])
            self.add(both)
            if self.qualified()[0].name == both.name:
                best = both

    def qualified(self) -> list[Candidate]:
        """Give the candidates that have the same posterior, the best first."""
        found = self.table()
        return [
            self.candidates[str(name)] for name in found["candidate"][found["status"] == "same"]
        ]

    def _helps(self, candidate: Candidate) -> bool:
        """Whether a candidate alone is better than the fit as it is, or that has not converged."""
        names = [one.name for one in self.qualified()]
        return AS_IT_IS not in names or names.index(candidate.name) < names.index(AS_IT_IS)


def search_remedies(
    one: problem.Problem, log: Log, kept: SearchCheckpoint | None = None
) -> SearchResult:
    """Search: the fit as it is, every kind alone, what its draws suggest, the best of each together, at last NeuTra.

    The last only where none of the others gave what a fit needs (R-hat at most 1.01 and an ESS of 400) within its
    gradients, and the model has from 2 to 100 scalars.

    Parameters
    ----------
    kept
        Of the same search, which was killed; what is tried is added to it. Without it nothing is kept.
    """
    run = _Search(one, log, kept)
    first = run.add(Candidate(AS_IT_IS, {}))
    for candidate in propose.first_candidates(one, first):
        run.add(candidate)
    for candidate in propose.candidates_from_draws(one, run.best_draws()):
        run.add(candidate)
    run.combine()
    has_flow = neutra.FEWEST_SCALARS <= one.n_scalars <= neutra.MOST_SCALARS
    if has_flow and not ranking.has_reached(run.table()):
        run.add(Candidate(NEUTRA, {}))
    table = run.table()
    table["kind"] = [run.candidates[name].kind for name in table["candidate"]]
    table["failure"] = [run.seen[name].failure for name in table["candidate"]]
    good = run.qualified()
    best = good[0] if good else None
    lines = best.lines(one.settings, marginalises=one.marginalises) if best else ""
    return SearchResult(table, best, lines)


# By heading: the column that is shown, and how; with an empty cell where it is not known.
_SHOWN = {
    "candidate": ("candidate", "{candidate}"),
    "posterior": ("status", "{status}"),
    "ESS per 1000 gradients": ("ess_per_1000", "{ess_per_1000:.3g} ({low:.3g}-{high:.3g})"),
    "gain": ("gain", "x {gain:.3g} ({gain_low:.3g}-{gain_high:.3g})"),
    "ESS": ("ess", "{ess:.0f}"),
    "slowest": ("slowest", "{slowest}"),
    "R-hat": ("rhat", "{rhat:.3f}"),
    "draws": ("draws", "{draws}"),
}


def search_as_text(found: SearchResult, title: str) -> str:
    """Show a search to a person: its table, and what to paste."""
    rows = found.table.to_dict("records")
    shown = {
        heading: ["" if pd.isna(row[name]) else written.format(**row) for row in rows]
        for heading, (name, written) in _SHOWN.items()
    }
    table = pd.DataFrame(shown).to_string(index=False)
    return "\n".join([title, "", table, "", *advice(found)])


def advice(found: SearchResult) -> Sequence[str]:
    """Say in lines what to do."""
    if found.table["failure"].all():
        return [f"No candidate could be sampled: {found.table['failure'].iloc[0]}"]
    if found.best is None:
        return [
            "No candidate converged within its gradients: raise --gradients, or change the model."
        ]
    if found.best.kind == AS_IT_IS:
        return ["Nothing that was tried is better than the fit as it is."]
    if not found.lines:
        return [
            "Best is NeuTra, which no key of the study file says: train a flow (numpyro.infer.reparam)."
        ]
    return ["Best of these; to paste into the study file:", "", found.lines]
