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


checkpoint prepare_study:
    """Read, check and store the data, check the model against them, and plan which rows belong to which fit."""
    input:
        data=file_of("data"),
        model=file_of("model"),
        truth=truth,
    output:
        data="<results>/{study}/data.nc",
        model="<results>/{study}/model.json",
        plan="<results>/{study}/plan.csv",
    log:
        "<logs>/{study}/prepare_study.log",
    conda:
        "../../envs/cpu.yaml"
    params:
        version=VERSION,
        settings=digest_of("seed", "data", "model", "sampler", "subsets", "increments"),
        folder=subpath(output.plan, parent=True),
    shell:
        "scalecheck-prepare --settings {params.folder:q}/settings.json --digest {params.settings} --log {log:q}"
