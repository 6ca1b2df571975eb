"""Everything that waits for a GPU, within ten minutes: `make gpu` writes one Markdown file.

    .venv/bin/python tests/benchmarks/gpu/gpu.py                     # on the first NVIDIA GPU
    .venv/bin/python tests/benchmarks/gpu/gpu.py --only device golf
    .venv/bin/python tests/benchmarks/gpu/gpu.py --rehearse          # small, on the processor

Needs the checkout and an environment with `jax[cuda13]` (or `[cuda12]`), no network and no data. Parts run one after
the other, the shortest first, each in a process of its own that is ended at its limit. The file is renewed after each;
of a part that fails it has the line that says why, and the next one runs.
"""

import argparse
import contextlib
import datetime
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results" / "gpu.md"


def write(path: Path, head: str, sections: list[str]) -> None:
    """Write what is known by now, whole."""
    part = path.with_suffix(".part")
    part.write_text("\n\n".join([head, *sections]) + "\n", encoding="utf-8")
    part.replace(path)


def run(part: Any, size: Any, scratch: Path) -> tuple[list[str], str]:
    """Run a part in a process of its own; give what it said, and why it failed, if it did."""
    said, errors = scratch / "said", scratch / "errors"
    process = multiprocessing.get_context("fork").Process(
        target=_work, args=(part, size, said, errors)
    )
    said.write_text("")
    errors.write_text("")
    process.start()
    process.join(part.limit)
    failed = ""
    if process.is_alive():
        # With the programs that it started.
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
        failed = f"took longer than {part.limit:.0f} s"
    elif process.exitcode:
        lines = [line for line in errors.read_text(errors="replace").splitlines() if line.strip()]
        failed = lines[-1] if lines else f"ended with status {process.exitcode}"
    return said.read_text().splitlines(), failed


def _work(part: Any, size: Any, said: Path, errors: Path) -> None:
    os.setsid()
    with errors.open("ab") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    with said.open("a", encoding="utf-8", buffering=1) as file:
        part.run(size, lambda line: print(line, file=file))


def head(rehearsed: bool) -> str:
    """Say what the file is, of when and of which commit."""
    asked = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    commit = "?"
    with contextlib.suppress(OSError):
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
        commit = done.stdout.strip() or commit
    text = f"# On a GPU\n\n`make gpu`, {datetime.date.today().isoformat()}, commit {commit}."
    return text + (" **Rehearsed on the processor, with small sizes.**" if rehearsed else "")


def main() -> None:
    """Run the parts in turn."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", nargs="+", help="parts: device, gradient, resume, memory, ...")
    parser.add_argument("--out", type=Path, default=RESULTS, help="default: %(default)s")
    parser.add_argument("--rehearse", action="store_true", help="on the processor, small")
    options = parser.parse_args()
    # Before anything imports JAX, and nothing here lets it look for a device: a process that did cannot be forked.
    os.environ["JAX_PLATFORMS"] = "cpu" if options.rehearse else "cuda"
    if options.rehearse:
        os.environ["SCALECHECK_PLATFORM"] = "cpu"
    # The benchmarks that parts are made of, and the tests, which load files of studies.
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
    import parts

    size = parts.SMALL if options.rehearse else parts.FULL
    chosen = options.only or list(parts.PARTS)
    if unknown := set(chosen) - set(parts.PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}: {', '.join(parts.PARTS)}")
    sections: list[str] = []
    any_failed = False
    with tempfile.TemporaryDirectory(prefix="scalecheck-gpu-") as scratch:
        for name in (name for name in parts.PARTS if name in chosen):
            part, began = parts.PARTS[name], time.perf_counter()
            said, failed = run(part, size, Path(scratch))
            took = time.perf_counter() - began
            any_failed |= bool(failed)
            said += [*([""] if said else []), f"**Failed: {failed}**"] if failed else []
            doc = " ".join((part.run.__doc__ or "").split())
            sections.append("\n".join([f"## {part.heading} ({took:.0f} s)", "", doc, "", *said]))
            write(options.out, head(options.rehearse), sections)
            print(f"{name}: {failed or 'done'} ({took:.0f} s)", flush=True)
    print(options.out)
    sys.exit(any_failed)


if __name__ == "__main__":
    main()
