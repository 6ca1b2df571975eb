"""Fits: all of one shape in one job (a GPU wants them together), increments one after the other."""

# plan.csv is `ancient` here: a fit depends on its own rows, which the settings fix, and not on what
# else is planned.


rule fit_subsets:
    """Fit random subsets and levels of axes."""
    input:
        data=rules.prepare_data.output.data,
        model=file_of("model"),
        plan=ancient("<results>/{study}/plan.csv"),
    output:
        manifest="<results>/{study}/fits/subsets-{part}.json",
    log:
        "<logs>/{study}/fits/subsets-{part}.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        gpu=gpus,
        gres="",
        mem_mb=memory_of(rows_of_part),
        runtime=minutes_of(rows_of_part),
    params:
        engine=ENGINE_VERSION,
        settings=settings("seed", "data", "model", "sampler", "subsets.size", "subsets.levels"),
        fits=fits_of_part,
        folder=subpath(output.manifest, ancestor=2),
    shell:
        "scalecheck-fit --settings {params.settings:q} --folder {params.folder:q} --part {wildcards.part}"
        " --manifest {output.manifest:q} --gpu {resources.gpu} --gres={resources.gres:q} --log {log:q}"


rule confirm_effort:
    """Fit the subset that took anomalously many leapfrogs again, or say that none did."""
    input:
        data=rules.prepare_data.output.data,
        model=file_of("model"),
        plan=ancient("<results>/{study}/plan.csv"),
        batches=batches,
    output:
        confirmation="<results>/{study}/fits/confirmation.json",
    log:
        "<logs>/{study}/fits/confirmation.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        gpu=gpus,
        gres="",
        mem_mb=memory_of(largest_rows),
    params:
        engine=ENGINE_VERSION,
        settings=settings("seed", "data", "model", "sampler", "subsets.size", "verdict.alpha"),
        folder=subpath(output.confirmation, ancestor=2),
    shell:
        "scalecheck-confirm --settings {params.settings:q} --folder {params.folder:q}"
        " --gpu {resources.gpu} --gres={resources.gres:q} --log {log:q}"


rule fit_axis:
    """Fit all levels of an axis together."""
    input:
        data=rules.prepare_data.output.data,
        model=file_of("model"),
        plan=ancient("<results>/{study}/plan.csv"),
    output:
        record="<results>/{study}/fits/axis-{axis}/record.json",
    log:
        "<logs>/{study}/fits/axis-{axis}.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        gpu=gpus,
        gres="",
        mem_mb=memory_of(rows_of_axis),
        runtime=minutes_of(rows_of_axis),
    params:
        engine=ENGINE_VERSION,
        settings=settings("seed", "data", "model", "sampler", "subsets.size", "subsets.levels"),
        folder=subpath(output.record, ancestor=3),
    shell:
        "scalecheck-fit --settings {params.settings:q} --folder {params.folder:q} --fits axis-{wildcards.axis:q}"
        " --gpu {resources.gpu} --gres={resources.gres:q} --log {log:q}"


rule fit_increment:
    """Fit an increment and look at it, unless the one before said stop."""
    input:
        data=rules.prepare_data.output.data,
        model=file_of("model"),
        plan=ancient("<results>/{study}/plan.csv"),
        before=record_before,
    output:
        record="<results>/{study}/fits/{increment}/record.json",
    log:
        "<logs>/{study}/fits/{increment}.log",
    priority: 1  # the only chain of jobs that wait for each other: the rest fits beside it
    conda:
        "../../envs/cpu.yaml"
    resources:
        gpu=gpus,
        gres="",
        mem_mb=memory_of(rows_of_increment),
        runtime=minutes_of_increment,
    params:
        engine=ENGINE_VERSION,
        settings=settings_of_increment,
        after=lambda wildcards: [f"--after {fit}" for fit in before(wildcards)],
        folder=subpath(output.record, ancestor=3),
    shell:
        "scalecheck-fit --settings {params.settings:q} --folder {params.folder:q} --fits {wildcards.increment:q}"
        " --increment {params.after} --gpu {resources.gpu} --gres={resources.gres:q} --log {log:q}"
