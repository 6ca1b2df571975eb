"""Fits: subsets and levels in few jobs (a GPU wants many at once), increments one after the other in one.

A job is started where anything changed that one of its fits may depend on. It keeps every fit that is there with
the right identity, and fits the others: Snakemake is told of its manifest alone, because it deletes the outputs
of a job that it starts.
"""


rule fit_batch:
    """Fit subsets and levels: all of them, or one of several parts."""
    input:
        data=rules.prepare_study.output.data,
        model=file_of("model"),
        plan=rules.prepare_study.output.plan,
    output:
        manifest="<results>/{study}/fits/batch-{part}.json",
    log:
        "<logs>/{study}/fits/batch-{part}.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        gpu=gpus,
        gres="",
        mem_mb=memory_of(rows_of_part),
        runtime=minutes_of(rows_of_part),
    params:
        engine=ENGINE_VERSION,
        settings=digest_of("seed", "data", "model", "sampler"),
        fits=digest_of_part,
        folder=subpath(output.manifest, ancestor=2),
    shell:
        "scalecheck-fit --settings {params.folder:q}/settings.json --digest {params.settings} --part {wildcards.part} --manifest {output.manifest:q}"
        " --gpu {resources.gpu} --gres={resources.gres:q} --log {log:q}"


rule fit_increments:
    """Fit the increments and look at each as it ends, until there is a reason to stop."""
    input:
        data=rules.prepare_study.output.data,
        model=file_of("model"),
        plan=rules.prepare_study.output.plan,
    output:
        manifest="<results>/{study}/fits/increments.json",
    log:
        "<logs>/{study}/fits/increments.log",
    priority: 1  # the longest job: the rest fits beside it
    conda:
        "../../envs/cpu.yaml"
    resources:
        gpu=gpus,
        gres="",
        mem_mb=memory_of(rows_of_largest_increment),
        runtime=minutes_of_increments,
    params:
        engine=ENGINE_VERSION,
        settings=digest_of(
            "seed", "data", "model", "sampler", "increments", "verdict.alpha", "budget"
        ),
        folder=subpath(output.manifest, ancestor=2),
    shell:
        "scalecheck-fit --settings {params.folder:q}/settings.json --digest {params.settings} --increments --manifest {output.manifest:q}"
        " --gpu {resources.gpu} --gres={resources.gres:q} --log {log:q}"


rule simulate_studies:
    """Run the whole plan on data sets simulated from the posterior."""
    input:
        data=rules.prepare_study.output.data,
        model=file_of("model"),
        plan=rules.prepare_study.output.plan,
        fits=every_fit,
    output:
        simulated="<results>/{study}/checks/simulated_findings.csv",
    log:
        "<logs>/{study}/simulate_studies.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        gpu=gpus,
        gres="",
        mem_mb=memory_of(simulated_rows),
        runtime=minutes_of(simulated_rows, keeps=False),
    params:
        engine=ENGINE_VERSION,
        version=VERSION,
        settings=digest_of(
            "seed", "data", "model", "sampler", "subsets", "increments", "verdict", "budget"
        ),
        folder=subpath(output.simulated, ancestor=2),
    shell:
        "scalecheck-simulate --settings {params.folder:q}/settings.json --digest {params.settings}"
        " --gpu {resources.gpu} --gres={resources.gres:q} --log {log:q}"


rule approximate:
    """Approximate the posterior of all rows, if the budget asks for it, and say whether to believe it."""
    input:
        data=rules.prepare_study.output.data,
        model=file_of("model"),
        plan=rules.prepare_study.output.plan,
        increments=rules.fit_increments.output.manifest,
    output:
        approximation="<results>/{study}/approximation.json",
    log:
        "<logs>/{study}/approximate.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        gpu=gpus,
        gres="",
        mem_mb=memory_of_approximation,
    params:
        engine=ENGINE_VERSION,
        settings=digest_of(
            "seed",
            "data",
            "model",
            "sampler",
            "subsets",
            "increments",
            "budget",
            "approximation",
        ),
        folder=subpath(output.approximation, parent=True),
    shell:
        "scalecheck-approximate --settings {params.folder:q}/settings.json --digest {params.settings}"
        " --gpu {resources.gpu} --gres={resources.gres:q} --log {log:q}"
