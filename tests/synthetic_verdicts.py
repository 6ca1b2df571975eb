"""Verdicts and findings of the synthetic studies, in the format of `verdict.json`."""


def _finding(
    family: str,
    status: str,
    p: float | None,
    adjusted: float | None,
    effect: tuple | None,
    message: str,
    **where: str | None,
) -> dict:
    place: dict[str, str | None] = dict.fromkeys(("axis", "level", "parameter", "fit"))
    named = (
        None if effect is None else dict(zip(("name", "value", "low", "high"), effect, strict=True))
    )
    return {
        "family": family,
        "status": status,
        "p": p,
        "p_adjusted": adjusted,
        "effect": named,
        "p_simulated": None,
        "where": place | where,
        "message": message,
    }


def _passed(family: str, p: float, effect: tuple | None, **where: str | None) -> dict:
    return _finding(family, "pass", p, min(1.0, 3 * p), effect, "Nothing was seen.", **where)


COSTS = ("effort", "scaling", "adaptation")


def _cheap(n_increments: int) -> list[dict]:
    """Families of cost that saw nothing."""
    fits = [f"increment-{i:02}" for i in range(1, n_increments + 1)]
    alike = ("leapfrogs over others'", 1.08, 0.8, 1.4)
    steady = ("leapfrogs over predicted", 1.1, 0.8, 1.5)
    together = ("gap of a chain in sds of the potential", 0.04, -0.03, 0.1)
    return [
        _passed("effort", 1.0, alike, fit="subset-02"),
        *(_passed("scaling", 0.3, steady, fit=fit) for fit in fits[2:]),
        *(_passed("adaptation", 0.4, together, fit=fit) for fit in fits),
    ]


def golf() -> dict:
    findings = [
        _passed("agreement", 0.21, ("dispersion", 1.28, 0.74, 2.9)),
        _finding(
            "heterogeneity",
            "strong",
            2e-4,
            8e-4,
            ("shift", 41.2, 39.0, 43.4),
            "sigma differs along distance_ft, most at 0.28 (41 level sds from the pooled value): "
            "the model uses distance_ft, so change how it enters.",
            axis="distance_ft",
            level="0.28",
            parameter="sigma",
            fit="increment-04",
        ),
        _finding(
            "heterogeneity",
            "strong",
            1e-4,
            4e-4,
            ("shift", 8.3, 6.1, 10.4),
            "sigma differs between berry1995 and broadie2018 (8.3 level sds): model it per source.",
            axis="source",
            level="berry1995",
            parameter="sigma",
            fit="increment-04",
        ),
        _passed("drift", 0.44, ("shift", 0.4, -0.3, 1.1), fit="increment-04"),
        _finding(
            "drift",
            "strong",
            3e-6,
            2e-5,
            ("shift", -3.1, -3.9, -2.3),
            "sigma fell by 3.1 posterior sds when 4,000 rows were added to 4,000: look at what "
            "arrived in these rows.",
            parameter="sigma",
            fit="increment-05",
        ),
        _passed("surprise", 0.31, ("largest score", 2.1, 1.0, 3.2), fit="increment-02"),
        _passed("surprise", 0.52, ("largest score", 1.8, 1.0, 3.2), fit="increment-03"),
        _passed("surprise", 0.12, ("largest score", 2.8, 1.0, 3.2), fit="increment-04"),
        _finding(
            "surprise",
            "suspect",
            0.008,
            0.024,
            ("low tail", 4.6, 3.9, 5.3),
            "The new rows of increment-05 hold misses that the earlier posterior calls nearly "
            "impossible: give short putts another way to miss.",
            fit="increment-05",
        ),
        _finding("effort", "not run", None, None, None, "effort needs at least 3 fitted subsets"),
        *_cheap(5)[1:],
    ]
    return {
        "study": "golf",
        "version": "0.1.0",
        "verdict": "breaks",
        "misfit": True,
        "heterogeneous": True,
        "alpha": 0.05,
        "attribution": {"family": "heterogeneity", "axis": "source", "beside": None},
        "reason": "",
        "p_simulated": None,
        "rows": {"total": 1259184, "used": 24000, "first_seen": 1000},
        "gradients": 812345,
        "seconds": 41.2,
        "findings": findings,
        "forecast": None,
        "approximation": None,
    }


def panel() -> dict:
    later = [f"increment-0{i}" for i in range(2, 6)]
    findings = [
        _passed("agreement", 0.38, ("dispersion", 1.04, 0.8, 1.4)),
        _passed("heterogeneity", 0.08, None, axis="region", parameter="slope"),
        _passed("form", 0.31, ("score of income^2 in sds", 1.9, -0.1, 3.9), axis="income"),
        *(_passed("drift", 0.6, ("shift", 0.4, -0.1, 0.9), fit=fit) for fit in later),
        *(_passed("surprise", 0.4, ("largest score", 2.0, 1.0, 3.4), fit=fit) for fit in later),
        *_cheap(5),
    ]
    return {
        "study": "panel",
        "version": "0.1.0",
        "verdict": "adequate",
        "misfit": False,
        "heterogeneous": False,
        "alpha": 0.05,
        "attribution": {"family": None, "axis": None, "beside": None},
        "reason": "",
        "p_simulated": None,
        "rows": {"total": 64000, "used": 40000, "first_seen": None},
        "gradients": 3812345,
        "seconds": 412.0,
        "findings": findings,
        "forecast": {
            "rows": 64000,
            "gradients": [14210.0, 17530.0, 26120.0],
            "seconds": [11.8, 14.6, 20.3],
            "price": [0.0082, 0.0101, 0.0141],
            "over_budget": False,
        },
        "approximation": None,
    }


def funnel() -> dict:
    return {
        **panel(),
        "study": "funnel",
        "verdict": "breaks",
        "heterogeneous": True,
        "attribution": {"family": "effort", "axis": None, "beside": None},
        "findings": _findings_funnel(),
        "rows": {"total": 328521, "used": 20000, "first_seen": 4000},
        "p_simulated": 0.001,
    }


def _findings_funnel() -> list[dict]:
    loud = [
        _finding(
            "effort",
            "strong",
            1e-4,
            9e-4,
            ("leapfrogs over others'", 3.1, 2.4, 4.0),
            "subset-03 takes 3.1 times the leapfrogs of the other subsets (40.7 per iteration), and "
            "2.8 times with another seed: see what its rows have that others lack, or change the "
            "parametrisation",
            fit="subset-03",
        )
        | {"p_simulated": 0.001},
        _finding(
            "scaling",
            "suspect",
            0.002,
            0.03,
            ("leapfrogs over predicted", 2.3, 1.6, 3.3),
            "increment-04 (4000 rows) takes 30 leapfrogs per iteration where 13 were predicted, 2.3 "
            "times as many: the model does not fit the rows that came last, or a chain is stuck: "
            "see what they hold, and adaptation",
            fit="increment-04",
        ),
        _finding(
            "adaptation",
            "suspect",
            0.001,
            0.04,
            ("gap of a chain in sds of the potential", 0.7, 0.4, 1),
            "increment-04: the potential of chain 2 lies 0.7 sds above that of the others: it is "
            "stuck in another mode or not there yet",
            fit="increment-04",
        ),
    ]
    quiet = (f for f in panel()["findings"] if f["family"] not in COSTS)
    along = {"axis": "carrier", "parameter": "tau"}
    return loud + [
        f | ({"where": f["where"] | along} if f["family"] == "heterogeneity" else {}) for f in quiet
    ]
