"""Maximise the evidence lower bound until the approximation no longer moves.

Rounds of Adam, each with a quarter of the step size of the one before. At a fixed step size the iterates
become a stationary process around the optimum; what is kept of a round is their mean, whose error is far smaller than
theirs. A round ends when the lower bound has stopped climbing, judged by its Monte Carlo error, and the means of the
two halves of its last windows are the same distribution; or when the latter takes too long, because the step size is
too large for it. The fit has converged when a round ended so and its distribution is that of the round before, too.
"The same" is `TOLERANCE` standard deviations. A. Dhaka et al., "Robust, accurate stochastic optimization for
variational inference", arXiv:2009.00666 (stationary iterates, and their mean); M. Welandawe et al., "A framework for
improving the reliability of black-box variational inference", arXiv:2203.15945 (rounds of smaller steps, ended by how
far the approximation moves). No decision looks at a clock: a fit that was killed goes on with the same bits.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.infer.svi import SVIState

from scalecheck.fitting.checkpoint import Checkpointer
from scalecheck.runtime.program import Log
from scalecheck.sampler import Snapshot
from scalecheck.variational.svi_programs import ROUND, STEP_SIZES, WINDOW, SviProblem, SviPrograms

# Windows of a round at least; windows after which it ends once the bound has stopped climbing.
FEWEST, LONGEST = 4, 12
# The same: differences of means in standard deviations and of log standard deviations are at most this for what rows
# share, and in the root mean square for all.
TOLERANCE = 0.1


class Round(NamedTuple):
    """A round of one step size.

    Attributes
    ----------
    step_size
        Of Adam.
    steps
        How many.
    elbo, elbo_error
        Mean of the lower bound over the windows that were averaged, and its Monte Carlo error.
    halves
        How far the distribution moved between the halves of these windows, in units of `TOLERANCE`.
    moved
        The same since the round before; infinite in the first.
    """

    step_size: float
    steps: int
    elbo: float
    elbo_error: float
    halves: float
    moved: float


class OptimisedGuide(NamedTuple):
    """A variational fit.

    Attributes
    ----------
    params
        Of the guide.
    rounds
        One after the other, those that ended.
    steps
        Of these, and of one that did not end.
    converged
        Whether the last round moved by less than the tolerance.
    reason
        Why not, else empty.
    """

    params: dict[str, Any]
    rounds: tuple[Round, ...]
    steps: int
    converged: bool
    reason: str


def maximise(
    problem: SviProblem,
    programs: SviPrograms,
    most_steps: int,
    key: jax.Array,
    log: Log,
    checkpointer: Checkpointer | None = None,
) -> OptimisedGuide:
    """Fit a guide.

    Parameters
    ----------
    programs
        Of the problem, or of one of the same shape.
    most_steps
        Steps at most; a fit that needs more is not converged.
    key
        `(2,)` of all that is random.
    log
        Takes a line per round.
    checkpointer
        Saves the fit while it runs.
    """
    ascent = _Ascent(problem, programs, key)
    if checkpointer is not None and (saved := checkpointer.saved()) is not None:
        ascent.restore(saved.state)
    while not (ascent.is_converged or ascent.steps >= most_steps or ascent.is_lost):
        ascent.advance(log)
        if checkpointer is not None:
            checkpointer.keep(lambda: Snapshot(ascent.state(), {}))
    return ascent.result(most_steps)


class _Ascent:
    """Where a fit stands between two windows."""

    def __init__(self, problem: SviProblem, programs: SviPrograms, key: jax.Array) -> None:
        self.problem, self.programs = problem, programs
        first, shuffling, self.key = jax.random.split(key, 3)
        self.arrays = problem.shuffled(shuffling)
        self.svi_state = programs.start(first, self.arrays)
        self.first = np.asarray(programs.ravel(self.svi_state))  # `(parameter,)` before any step
        self.rounds: list[Round] = []
        self.means: list[np.ndarray] = []  # `(parameter,)` of the iterates, by window of this round
        self.losses: list[np.ndarray] = []
        self.kept: np.ndarray | None = None  # mean `(parameter,)` of the last round that is over
        self.n_windows = 0  # of this round

    @property
    def steps(self) -> int:
        return sum(one.steps for one in self.rounds) + WINDOW * self.n_windows

    @property
    def is_converged(self) -> bool:
        return bool(self.rounds) and max(self.rounds[-1].halves, self.rounds[-1].moved) <= 1.0

    @property
    def is_lost(self) -> bool:
        return bool(self.losses) and not np.isfinite(self.losses[-1]).all()

    def advance(self, log: Log) -> None:
        """Run a window; end the round if it has come to rest."""
        start = self.steps * self.problem.n_batch % self.problem.n_rows
        self.svi_state, losses, mean = self.programs.window(self.svi_state, self.arrays, start)
        self.n_windows += 1
        self.losses = [*self.losses, np.asarray(losses)][-LONGEST:]
        if self.is_lost:
            return
        self.means = [*self.means, np.asarray(mean)][-LONGEST:]
        if self.n_windows < FEWEST:
            return
        half = min(self.n_windows, LONGEST) // 4
        before, after = _halves(self.losses, half, np.concatenate)
        error = np.hypot(*(part.std() / np.sqrt(len(part)) for part in (before, after)))
        if before.mean() - after.mean() > 2 * error:
            return
        first, second = _halves(self.means, half, lambda part: np.mean(part, axis=0))
        halves = self._moved(first, second)
        if halves <= 1.0 or self.n_windows >= LONGEST:
            self._end_round((first + second) / 2, np.concatenate([before, after]), halves)
            log(round_in_words(self.rounds[-1], self.steps))

    def _end_round(self, mean: np.ndarray, losses: np.ndarray, halves: float) -> None:
        moved = np.inf if self.kept is None else self._moved(self.kept, mean)
        error = float(losses.std() / np.sqrt(len(losses)))
        size = STEP_SIZES[min(len(self.rounds), len(STEP_SIZES) - 1)]
        elbo = -float(losses.mean())
        self.rounds.append(Round(size, WINDOW * self.n_windows, elbo, error, halves, moved))
        self.kept, self.n_windows, self.means, self.losses = mean, 0, [], []
        # Adam goes on with its moments: only its counter is moved on, to the next step size.
        counter, adam = self.svi_state.optim_state
        optim_state = (jnp.full_like(counter, len(self.rounds) * ROUND), adam)
        self.svi_state = SVIState(optim_state, *self.svi_state[1:])

    def _moved(self, before: np.ndarray, after: np.ndarray) -> float:
        """Compare two rounds by draws with the same random numbers."""
        (mean, sd), (new_mean, new_sd) = (
            map(np.asarray, self.programs.moments(jnp.asarray(flat), self.key))
            for flat in (before, after)
        )
        apart = np.stack([(new_mean - mean) / new_sd, np.log(new_sd / sd)])
        shared = np.abs(apart[:, : self.problem.n_shared])
        farthest = max(shared.max(initial=0.0), np.sqrt(np.mean(apart**2, axis=1)).max())
        return float(farthest / TOLERANCE)

    def result(self, most_steps: int) -> OptimisedGuide:
        """Give the mean of the last round; of the last window that was finite, where no round has ended."""
        reason = ""
        if self.is_lost:
            reason = f"the lower bound was no finite number after {self.steps} steps"
        elif not self.is_converged:
            reason = f"it still moved after {most_steps} steps (approximation.steps)"
        flat = self.kept if self.kept is not None else [self.first, *self.means][-1]
        params = self.programs.params(jnp.asarray(flat))
        return OptimisedGuide(params, tuple(self.rounds), self.steps, self.is_converged, reason)

    def state(self) -> dict[str, np.ndarray]:
        """All that a fit goes on from, as arrays of any shape."""
        leaves = {f"leaf-{i}": np.asarray(x) for i, x in enumerate(jax.tree.leaves(self.svi_state))}
        return {
            **leaves,
            "n_windows": np.array(self.n_windows),
            "rounds": np.array(self.rounds, dtype="float64").reshape(-1, len(Round._fields)),
            "kept": np.zeros(0, "float32") if self.kept is None else self.kept,
            "means": np.array(self.means),
            "losses": np.array(self.losses),
        }

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from what `state` gave."""
        leaves, tree = jax.tree.flatten(self.svi_state)
        saved = [jnp.asarray(state[f"leaf-{i}"]) for i in range(len(leaves))]
        self.svi_state = jax.tree.unflatten(tree, saved)
        self.n_windows = int(state["n_windows"])
        self.rounds = [Round(one[0], int(one[1]), *one[2:]) for one in state["rounds"].tolist()]
        self.kept = state["kept"] if len(state["kept"]) else None
        self.means, self.losses = list(state["means"]), list(state["losses"])


def _halves(
    windows: Sequence[np.ndarray], half: int, join: Callable[[Sequence[np.ndarray]], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Join so many of the last windows, and as many before them; `(step,)` or `(parameter,)`."""
    return join(windows[-2 * half : -half]), join(windows[-half:])


def round_in_words(one: Round, steps: int) -> str:
    """One line about a round."""
    moved = "" if np.isinf(one.moved) else f", moved by {one.moved:.2g}"
    return (
        f"step size {one.step_size:.2g} until step {steps}: lower bound {one.elbo:.6g}"
        f" +- {one.elbo_error:.2g}, halves {one.halves:.2g} tolerances apart{moved}"
    )
