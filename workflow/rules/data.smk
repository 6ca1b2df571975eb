"""From the user's files to checked data and a plan."""


rule make_table:
    """Run a study's own program that writes its table."""
    input:
        program=lambda wildcards: local(MADE[wildcards.table]),
    output:
        table=local("{table}"),
    log:
        "<logs>/make_table/{table}.log",
    conda:
        "../../envs/cpu.yaml"
    shell:
        "python {input.program:q} {output.table:q} 2>&1 | tee {log:q} >&2"


rule prepare_data:
    """Read, check and encode the data; store them in the orders in which fits read."""
    input:
        data=file_of("data"),
        model=file_of("model"),
    output:
        data="<results>/{study}/data.nc",
    log:
        "<logs>/{study}/prepare_data.log",
    conda:
        "../../envs/cpu.yaml"
    params:
        settings=settings("seed", "data", "model", "subsets.levels"),
        folder=subpath(output.data, parent=True),
    shell:
        "scalecheck-prepare --settings {params.settings:q} --folder {params.folder:q} --log {log:q}"


rule check_study:
    """Check the model against all rows, before any fit."""
    input:
        data=rules.prepare_data.output.data,
        model=file_of("model"),
        truth=truth,
    output:
        model="<results>/{study}/model.json",
    log:
        "<logs>/{study}/check_study.log",
    conda:
        "../../envs/cpu.yaml"
    params:
        settings=settings("seed", "data", "model", "sampler", "subsets", "increments"),
        folder=subpath(output.model, parent=True),
    shell:
        "scalecheck-check-study --settings {params.settings:q} --folder {params.folder:q} --log {log:q}"


checkpoint plan_fits:
    """Plan which rows belong to which fit."""
    input:
        data=rules.prepare_data.output.data,
        model=rules.check_study.output.model,
    output:
        plan="<results>/{study}/plan.csv",
    log:
        "<logs>/{study}/plan_fits.log",
    conda:
        "../../envs/cpu.yaml"
    params:
        settings=settings("subsets", "increments"),
        folder=subpath(output.plan, parent=True),
    shell:
        "scalecheck-plan --settings {params.settings:q} --folder {params.folder:q} --log {log:q}"
