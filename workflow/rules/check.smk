"""Compare the fits, and decide."""


rule check_fits:
    """Run every family of checks."""
    input:
        data=rules.prepare_data.output.data,
        plan=rules.plan_fits.output.plan,
        fits=every_fit,
    output:
        fits="<results>/{study}/checks/fits.csv",
        estimates="<results>/{study}/checks/estimates.csv",
        agreement="<results>/{study}/checks/agreement.csv",
        heterogeneity="<results>/{study}/checks/heterogeneity.csv",
        drift="<results>/{study}/checks/drift.csv",
        surprise="<results>/{study}/checks/surprise.csv",
        findings="<results>/{study}/checks/findings.csv",
    log:
        "<logs>/{study}/check_fits.log",
    conda:
        "../../envs/cpu.yaml"
    params:
        settings=settings("seed", "data", "model", "increments"),
        folder=subpath(output.fits, ancestor=2),
    shell:
        "scalecheck-check --settings {params.settings:q} --folder {params.folder:q} --log {log:q}"


rule decide_verdict:
    """Judge all findings together."""
    input:
        plan=rules.plan_fits.output.plan,
        fits=rules.check_fits.output.fits,
        findings=rules.check_fits.output.findings,
    output:
        verdict="<results>/{study}/verdict.json",
    log:
        "<logs>/{study}/decide_verdict.log",
    conda:
        "../../envs/cpu.yaml"
    params:
        settings=settings("study", "increments.order", "verdict.alpha"),
        folder=subpath(output.verdict, parent=True),
    shell:
        "scalecheck-verdict --settings {params.settings:q} --folder {params.folder:q} --log {log:q}"
