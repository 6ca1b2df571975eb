"""Workflows of other people that use scalecheck as a module."""

import subprocess
import sys
from pathlib import Path

import clinics

WORKFLOW = clinics.ROOT / "workflow/Snakefile"

# No axes and few iterations: what Snakemake does with a study is looked at here, and not the study.
STUDY = (
    clinics.STUDY.replace("axes: [clinic]", "axes: []")
    .replace("count: 3", "count: 2")
    .replace("warmup: 100, draws: 100", "warmup: 50, draws: 50")
)

# `study` at the top is the host's own key; the data are made by a rule of the host, of which the module knows nothing.
CONFIG = """\
study: of the host itself
scalecheck: {studies: [clinics.yaml, again.yaml]}
"""

SNAKEFILE = """\
configfile: "config.yaml"


rule everything:
    input:
        "summary.txt",


rule make_visits:
    input:
        "raw.csv",
    output:
        "visits.csv",
    shell:
        "cp {{input}} {{output}}"


module scalecheck:
    snakefile:
        "{workflow}"
    config:
        config["scalecheck"]
    prefix:
        "checks"


use rule * from scalecheck as scalecheck_*


rule summarise:
    input:
        "checks/results/again/verdict.json",
        expand("checks/results/{{study}}/report.html", study=["clinics", "again"]),
    output:
        "summary.txt",
    shell:
        "cat {{input[0]}} > {{output}}"


onstart:
    scalecheck.claim_studies()


onerror:
    scalecheck.tell_failures(log)
"""


def write_host(folder: Path, snakefile: str = SNAKEFILE) -> None:
    """Write a workflow with two studies that differ in their names and seeds, and whose data are yet to be made."""
    clinics.write_study(folder)
    (folder / "visits.csv").rename(folder / "raw.csv")
    (folder / "study.yaml").unlink()
    (folder / "clinics.yaml").write_text(STUDY)
    again = STUDY.replace("study: clinics", "study: again").replace("seed: 7", "seed: 8")
    (folder / "again.yaml").write_text(again)
    (folder / "config.yaml").write_text(CONFIG)
    (folder / "Snakefile").write_text(snakefile.format(workflow=WORKFLOW))


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the host's workflow as its user does, from its folder: compiled programs are kept for all of them."""
    own = clinics.environment(folder)
    own.pop("JAX_COMPILATION_CACHE_DIR", None)
    return subprocess.run(
        [str(Path(sys.executable).parent / "snakemake"), "--cores", "2", *arguments],
        env=own,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
