"""The page."""


rule write_report:
    """Write the page that a person takes into a meeting."""
    input:
        verdict=rules.decide_verdict.output.verdict,
        tables=[path for path in rules.check_fits.output],
        remedies=remedies,
        truth=truth,
    output:
        page=report(
            "<results>/{study}/report.html",
            caption="../report/page.rst",
            category="Verdict",
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
