"""What waits for a GPU, a function each: they say Markdown, a line as soon as it is known."""

import functools
import itertools
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import engines
import jax
import jax.numpy as jnp
import memory as full_fit
import numpy as np
import targets
from study_files import load

from scalecheck import sampler
from scalecheck.fitting import gradient_timing, memory
from scalecheck.fitting.checkpoint import Checkpointer
from scalecheck.model import density
from scalecheck.model.reparam import coordinates_of
from scalecheck.pipeline.bandwidth import measure_bandwidth
from scalecheck.sampler import Snapshot

ROOT = Path(__file__).parents[3]
Say = Callable[[str], None]


class Size(NamedTuple):
    """How much is measured.

    Attributes
    ----------
    rows, groups
        Of config/studies/logistic_groups, and of the same with few groups.
    few_rows, few_groups
        Where a gradient was reported to be slow (numpyro#2225).
    copied
        Bytes of the array whose copy gives the bandwidth.
    problems
        Of targets.py, on which engines are compared.
    n_fits, iterations
        Of each of them; as many draws as iterations of warmup.
    depth
        Of the trees of the fit whose memory is measured.
    golf
        Keys of the study, over its file.
    """

    rows: int
    groups: int
    few_rows: int
    few_groups: int
    copied: int
    problems: tuple[str, ...]
    n_fits: int
    iterations: int
    depth: int
    golf: tuple[str, ...]


FULL = Size(1_000_000, 100_000, 100_000, 8, 512 * 2**20, tuple(targets.PROBLEMS), 16, 500, 10, ())
SMALL = Size(
    600,
    60,
    600,
    8,
    2**20,
    ("logistic",),
    2,
    20,
    3,
    (
        "subsets={count: 2, size: 300, levels: 2}",
        "increments={start: 300, end: 600}",
        "sampler={warmup: 100, draws: 100}",
        "data={axes: []}",
    ),
)


def device(size: Size, say: Say) -> None:
    """What the device is, and how fast it copies."""
    found = jax.devices()[0]
    say(
        f"- {found.device_kind} (`{found.platform}`), jax {jax.__version__}, Python {sys.version.split()[0]}"
    )
    if program := shutil.which("nvidia-smi"):
        asked = [program, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
        named = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
        say(f"- `nvidia-smi`: {'; '.join(named.splitlines())}")
    began = time.perf_counter()
    jax.block_until_ready(jax.jit(lambda x: x @ x)(jnp.ones((64, 64))))
    say(f"- first program compiled and run in {time.perf_counter() - began:.1f} s")
    say(f"- copies {measure_bandwidth(found, size.copied) / 1e9:.4g} GB/s")


def gradient(size: Size, say: Say) -> None:
    """One gradient of logistic_groups: the least that must be moved, over the time, as a share of the bandwidth."""
    bandwidth = measure_bandwidth(jax.devices()[0], size.copied)
    say("| rows | groups | chains | ms | MB | share | XLA's MB | XLA's share |")
    say("| --- | --- | --- | --- | --- | --- | --- | --- |")
    shapes = ((size.few_rows, size.few_groups), (size.rows, size.groups))
    for n_rows, n_groups in shapes:
        arrays = {name: jnp.asarray(values) for name, values in _rows(n_rows, n_groups).items()}
        function = _model(n_groups)
        moved = coordinates_of(function, {})
        names = list(density.unconstrained(function, arrays))
        for n_chains in (1, 4):
            z = full_fit.begin(function, names, arrays, jax.random.PRNGKey(1), n_chains)
            run = jax.jit(gradient_timing.gradient(moved))
            counted = (run.lower(z, arrays).compile().cost_analysis() or {}).get("bytes accessed")
            seconds = gradient_timing.time_gradients(moved.potential, z, arrays, n_runs=10)
            n_bytes = sum(x.nbytes for x in arrays.values()) + 2 * sum(x.nbytes for x in z.values())
            numbers = [f"{n_rows:,}", f"{n_groups:,}", f"{n_chains}", f"{1e3 * seconds:.3g}"]
            for moved_bytes in (n_bytes, counted or float("nan")):
                share = moved_bytes / seconds / bandwidth
                numbers += [f"{moved_bytes / 1e6:.4g}", f"{100 * share:.3g} %"]
            say(f"| {' | '.join(numbers)} |")


def _rows(n_rows: int, n_groups: int) -> dict[str, np.ndarray]:
    return full_fit.data(n_rows, n_groups, 20)


def _model(n_groups: int) -> Callable[..., None]:
    return functools.partial(load("logistic_groups", "model").model, n_group=n_groups)


def resume(size: Size, say: Say) -> None:
    """A batch of fits that is killed and goes on, beside one that was left alone."""
    with tempfile.TemporaryDirectory(prefix="scalecheck-") as scratch:
        folder = Path(scratch)
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder / "compiled"))
        statuses = [
            _fit_elsewhere(folder / name, size, dies)
            for name, dies in (("alone", False), ("killed", True), ("killed", False))
        ]
        if statuses != [0, -signal.SIGKILL, 0]:
            raise RuntimeError(f"the three processes ended with {statuses}")
        alone, killed = (_draws(folder / name) for name in ("alone", "killed"))
        line = (folder / "killed/log").read_text()
    if "goes on from its checkpoint" not in line:
        raise RuntimeError("the second fit began anew")
    same = all(np.array_equal(alone[name], killed[name]) for name in alone)
    say(
        f"- {sum(x.size for x in alone.values()):,} numbers, killed by SIGKILL when it was saved twice, and resumed:"
    )
    say(f"- **{'the same bits' if same else 'OTHER BITS'}** as the fit that was left alone")
    if not same:
        gap = max(float(np.abs(alone[name] - killed[name]).max()) for name in alone)
        raise RuntimeError(f"bits differ, by up to {gap:.3g}")


def _fit_elsewhere(folder: Path, size: Size, dies: bool) -> int | None:
    """Sample in another process, which goes on from a checkpoint; give its exit status."""
    process = multiprocessing.get_context("fork").Process(target=_fit, args=(folder, size, dies))
    process.start()
    process.join()
    return process.exitcode


def _fit(folder: Path, size: Size, dies: bool) -> None:
    folder.mkdir(exist_ok=True)
    problem = targets.logistic(size.n_fits)
    told: list[str] = []
    # At every block; the one that is left alone never.
    checkpointer = Checkpointer(folder / "checkpoint", "one", 0.0 if dies else 1e9, told.append)
    n_saved = itertools.count(1)

    def keep(take: Callable[[], Snapshot]) -> None:
        checkpointer.keep(take)
        if dies and next(n_saved) == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    found = sampler.sample_lanes(
        density.potential(problem.model),
        problem.arrays,
        engines.starts(problem, 3),
        sampler.Settings(size.iterations, 0.8, 10, ()),
        key=jax.random.split(jax.random.PRNGKey(3), size.n_fits),
        draws=size.iterations,
        keep=keep,
        saved=checkpointer.saved(),
    )
    (folder / "log").write_text("\n".join(told))
    held = {f"{k}-{name}": values for k, z in enumerate(found.z) for name, values in z.items()}
    np.savez(folder / "draws.npz", **held)


def _draws(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "draws.npz") as found:
        return dict(found)


def forecast(size: Size, say: Say) -> None:
    """Memory that a fit of logistic_groups takes of the device, beside its forecast."""
    rows, function = _rows(size.rows, size.groups), _model(size.groups)
    names = list(density.unconstrained(function, rows))
    begun = full_fit.begin(function, names, rows, jax.random.PRNGKey(1), 1)
    starts = {name: values[None] for name, values in begun.items()}
    arrays = {name: values[None] for name, values in rows.items()}
    latent = tuple(name for name in names if name not in full_fit.KEPT)
    settings = sampler.Settings(2, 0.8, size.depth, ())

    def reduced(z: Any, arrays: Any) -> dict[str, jax.Array]:
        values = density.constrain(function, z, arrays)
        return {name: values[name] for name in latent}

    streams = sampler.Streams(full_fit.KEPT, reduced)
    potential = density.potential(function)
    found = memory.batch_memory(
        potential, arrays, starts, settings, streams, at_once=1, in_block=1, room=None, draws=4
    )
    say(f"- forecast: {found.device.in_words()} on the device, {found.host.in_words()} on the host")
    began = time.perf_counter()
    key = jax.random.PRNGKey(2)[None]
    fitted = sampler.sample_lanes(
        potential, arrays, starts, settings, key=key, draws=4, streams=streams
    )
    took = time.perf_counter() - began
    n_steps = int(fitted.iterations[0].n_steps.sum())
    say(f"- {size.rows:,} rows, {n_steps} leapfrogs, {took:.1f} s with compilation")
    stats = jax.devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" not in stats:
        say("- this device does not say what was taken")
        return
    peak = stats["peak_bytes_in_use"]
    say(
        f"- at its peak {peak / 1e9:.2f} GB, of {stats['bytes_limit'] / 1e9:.0f} GB:"
        f" {peak / found.device.total:.2f} times the forecast"
    )


def table_of_engines(size: Size, say: Say) -> None:
    """Effective draws per second of wall time, compilation left out."""
    say("| problem | engine | compile, s | sample, s | leapfrogs | ESS/s | over numpyro | useful |")
    say("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in size.problems:
        problem = targets.PROBLEMS[name](size.n_fits)
        base = None
        for engine in ("numpyro, all together", "lanes"):
            sample, fisher = engines.ENGINES[engine]
            found = sample(
                density.potential(problem.model),
                problem.arrays,
                engines.starts(problem, 1),
                sampler.Settings(size.iterations, 0.8, 10, (), fisher),
                key=jax.random.split(jax.random.PRNGKey(1), size.n_fits),
                draws=size.iterations,
            )
            seconds = found.seconds.warmup + found.seconds.sampling
            rate = sum(engines.smallest_ess(z) for z in found.z) / seconds
            base = base or rate
            useful = "" if found.useful is None else f"{found.useful:.2f}"
            leapfrogs = sum(int(one.n_steps.sum()) for one in found.iterations)
            numbers = [f"{found.seconds.compile:.1f}", f"{seconds:.2f}", f"{leapfrogs:,}"]
            numbers += [f"{rate:.4g}", f"{rate / base:.2f}", useful]
            say(f"| {name}, {size.n_fits} fits | {engine} | {' | '.join(numbers)} |")


def golf(size: Size, say: Say) -> None:
    """The default study through Snakemake, with nothing in the cache of compiled programs."""
    with tempfile.TemporaryDirectory(prefix="scalecheck-") as scratch:
        folder = Path(scratch)
        shutil.copytree(ROOT / "config", folder / "config")
        command = [
            str(Path(sys.executable).with_name("snakemake")),
            "--quiet",
            "all",
            "--cores",
            "all",
        ]
        command += ["--snakefile", str(ROOT / "Snakefile"), "--resources", "gpu=1"]
        command += ["--config", "results=results", *size.golf]
        own = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        own["SCALECHECK_CACHE"] = str(folder / "compiled")
        own.pop("JAX_COMPILATION_CACHE_DIR", None)
        began = time.perf_counter()
        subprocess.run(command, cwd=folder, env=own, check=True)
        took = time.perf_counter() - began
        verdict = json.loads((folder / "results/golf/verdict.json").read_text())
        paths = sorted(folder.glob("results/golf/fits/*/record.json"))
        records = [json.loads(path.read_text()) for path in paths]
    say(f"- {took:.0f} s to the verdict `{verdict['verdict']}`, {len(records)} fits")
    done = [one for one in records if one["status"] == "done"]
    for phase in ("import", "compile", "warmup", "sampling"):
        say(f"- {phase}: {sum(one['seconds'][phase] for one in done):.1f} s of all fits together")
    where = sorted({f"{one['device']} (`{one['platform']}`)" for one in done})
    say(f"- ran on {', '.join(where)}")
    if {one["platform"] for one in done} != {jax.default_backend()}:
        raise RuntimeError("not every fit ran on the device")


class Part(NamedTuple):
    """A part, its heading and the seconds that it may take."""

    heading: str
    run: Callable[[Size, Say], None]
    limit: float


# Shortest first; nine minutes and a half at most.
PARTS = {
    "device": Part("Device", device, 40),
    "gradient": Part("Gradient of logistic_groups", gradient, 100),
    "resume": Part("Resume bit for bit", resume, 80),
    "memory": Part("Memory, forecast and taken", forecast, 80),
    "engines": Part("Engines", table_of_engines, 140),
    "golf": Part("Golf through Snakemake", golf, 130),
}
