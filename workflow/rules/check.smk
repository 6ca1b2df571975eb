"""Compare the fits, and decide."""


rule check_fits:
    """Run every family of checks."""
    input:
        data=rules.prepare_data.output.data,
        plan=rules.plan_fits.output.plan,
        fits=every_fit,
        confirmation=rules.confirm_effort.output.confirmation,
    output:
        fits="<results>/{study}/checks/fits.csv",
        estimates="<results>/{study}/checks/estimates.csv",
        agreement="<results>/{study}/checks/agreement.csv",
        heterogeneity="<results>/{study}/checks/heterogeneity.csv",
        drift="<results>/{study}/checks/drift.csv",
        surprise="<results>/{study}/checks/surprise.csv",
        effort="<results>/{study}/checks/effort.csv",
        scaling="<results>/{study}/checks/scaling.csv",
        adaptation="<results>/{study}/checks/adaptation.csv",
        history="<results>/{study}/checks/history.csv",
        units="<results>/{study}/checks/units.csv",
        findings="<results>/{study}/checks/findings.csv",
    log:
        "<logs>/{study}/check_fits.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=memory_of(every_rows),
    params:
        settings=settings("seed", "data", "model", "increments"),
        folder=subpath(output.fits, ancestor=2),
    shell:
        "scalecheck-check --settings {params.settings:q} --folder {params.folder:q} --log {log:q}"


rule simulate_studies:
    """Run the whole plan on data sets simulated from the posterior, and rank the study among them."""
    input:
        data=rules.prepare_data.output.data,
        model=file_of("model"),
        plan=rules.plan_fits.output.plan,
        findings=rules.check_fits.output.findings,
    output:
        simulated="<results>/{study}/checks/simulated.csv",
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
        settings=settings(),
        folder=subpath(output.simulated, ancestor=2),
    shell:
        "scalecheck-simulate --settings {params.settings:q} --folder {params.folder:q}"
        " --gpu {resources.gpu} --gres={resources.gres:q} --log {log:q}"


rule search_remedies:
    """Search for a better geometry where effort, scaling or adaptation speaks, or a fit cannot be used."""
    input:
        data=rules.prepare_data.output.data,
        model=file_of("model"),
        plan=rules.plan_fits.output.plan,
        fits=rules.check_fits.output.fits,
        findings=rules.check_fits.output.findings,
    output:
        remedies="<results>/{study}/remedies.json",
        table="<results>/{study}/remedies.csv",
    log:
        "<logs>/{study}/search_remedies.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        gpu=gpus,
        gres="",
        mem_mb=memory_of(largest_rows),
    params:
        engine=ENGINE_VERSION,
        settings=settings(),
        folder=subpath(output.remedies, parent=True),
    shell:
        "scalecheck-remedies --settings {params.settings:q} --folder {params.folder:q}"
        " --gpu {resources.gpu} --gres={resources.gres:q} --log {log:q}"


rule approximate:
    """Approximate the posterior of all rows, if the budget asks for it, and say whether to believe it."""
    input:
        data=rules.prepare_data.output.data,
        model=file_of("model"),
        plan=ancient("<results>/{study}/plan.csv"),
        increments=increments,
    output:
        approximation="<results>/{study}/approximation.json",
    log:
        "<logs>/{study}/approximate.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        gpu=gpus,
        gres="",
        mem_mb=memory_of(all_rows),
    params:
        engine=ENGINE_VERSION,
        settings=settings(
            "seed",
            "data",
            "model",
            "sampler",
            "subsets",
            "increments",
            "budget",
            "approximation",
            "variational",
        ),
        folder=subpath(output.approximation, parent=True),
    shell:
        "scalecheck-approximate --settings {params.settings:q} --folder {params.folder:q}"
        " --gpu {resources.gpu} --gres={resources.gres:q} --log {log:q}"


rule decide_verdict:
    """Judge all findings together."""
    input:
        plan=rules.plan_fits.output.plan,
        fits=rules.check_fits.output.fits,
        findings=rules.check_fits.output.findings,
        simulated=simulated,
        approximation=approximated,
    output:
        verdict="<results>/{study}/verdict.json",
    log:
        "<logs>/{study}/decide_verdict.log",
    conda:
        "../../envs/cpu.yaml"
    params:
        settings=settings("study", "increments.order", "verdict", "budget", "approximation"),
        folder=subpath(output.verdict, parent=True),
    shell:
        "scalecheck-verdict --settings {params.settings:q} --folder {params.folder:q} --log {log:q}"
