"""Compare the fits, decide, and write the page."""


rule judge_study:
    """Run every family of checks, judge all findings together, and write the page that a person takes into a meeting."""
    input:
        data=rules.prepare_study.output.data,
        shapes=rules.prepare_study.output.model,
        model=file_of("model"),
        plan=rules.prepare_study.output.plan,
        fits=every_fit,
        simulated=simulated,
        approximation=approximated,
        truth=truth,
    output:
        tables=expand("<results>/{{study}}/checks/{table}.csv", table=TABLES),
        verdict="<results>/{study}/verdict.json",
        page=report(
            "<results>/{study}/report.html",
            caption="../report/page.rst",
            category="{study}",
            labels={"what": "the page"},
        ),
        figures=report(
            directory("<results>/{study}/figures"),
            patterns=["{figure}.svg"],
            caption="../report/figure.rst",
            category="{study}",
            labels={"what": "{figure}"},
        ),
    log:
        "<logs>/{study}/judge_study.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        gpu=gpus,
        gres="",
        mem_mb=memory_of(every_rows),
    params:
        version=VERSION,
        engine=ENGINE_VERSION,
        settings=digest_of(),
        folder=subpath(output.verdict, parent=True),
    shell:
        "scalecheck-judge --settings {params.folder:q}/settings.json --digest {params.settings}"
        " --gpu {resources.gpu} --gres={resources.gres:q} --log {log:q}"
