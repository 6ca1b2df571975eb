"""The page, and its figures."""


rule write_report:
    """Write the page that a person takes into a meeting, and its figures."""
    input:
        verdict=rules.decide_verdict.output.verdict,
        tables=[path for path in rules.check_fits.output],
        remedies=remedies,
        truth=truth,
    output:
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
        "<logs>/{study}/write_report.log",
    conda:
        "../../envs/cpu.yaml"
    params:
        settings=lambda wildcards: STUDIES[wildcards.study].sections(),
        folder=subpath(output.page, parent=True),
    shell:
        "scalecheck-report --settings {params.settings:q} --folder {params.folder:q} --log {log:q}"
