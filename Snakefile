"""scalecheck: will this Bayesian model survive all of its data?"""

from pathlib import Path

from snakemake.utils import min_version

min_version("9.27")


# Studies that are named on the command line, or by the workflow that uses this one, need none.
if Path("config/config.yaml").exists():

    configfile: "config/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/resources.smk"


wildcard_constraints:
    study="|".join(map(re.escape, STUDIES)),
    part=r"\d+-of-\d+",
    table="|".join(map(re.escape, MADE)) or "(?!)",


# A run, and no job of it: jobs on a cluster read this file again. Whoever uses this as a module calls it themselves.
onstart:
    claim_studies()


onerror:
    tell_failures(log)


rule all:
    input:
        expand("<results>/{study}/report.html", study=STUDIES),
        expand("<results>/{study}/verdict.json", study=STUDIES),
    localrule: True


include: "workflow/rules/data.smk"
include: "workflow/rules/fit.smk"
include: "workflow/rules/judge.smk"
