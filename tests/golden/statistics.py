"""Writes statistics.json: intervals and tests of paired differences, by SciPy.

Needs scipy and numpy, and only to write the file anew: python3 tests/golden/statistics.py
"""

import json
import pathlib

import numpy
from scipy import stats

rng = numpy.random.default_rng(5)
SAMPLES = {
    "five of one sign": [0.021, 0.034, 0.018, 0.027, 0.041],
    "five": [0.021, -0.034, 0.018, 0.027, 0.041],
    "equal and zero": [0.0, 0.01, 0.01, -0.01, 0.02, 0.0],
    "skewed": rng.exponential(1.0, 12).tolist(),
    "ten around 0": rng.normal(0.0, 1.0, 10).tolist(),
    "twenty": rng.normal(0.4, 1.0, 20).tolist(),
}


def case(name, values):
    values = numpy.array(values)
    t = stats.ttest_1samp(values, 0.0)
    interval = t.confidence_interval(0.95)
    # Signs flipped in all ways: n_resamples is not below 2 ** n.
    flips = stats.permutation_test(
        (values,), numpy.mean, permutation_type="samples", alternative="two-sided", n_resamples=2**21, vectorized=True, axis=0
    )
    bca = stats.bootstrap((values,), numpy.mean, n_resamples=200_000, method="BCa", rng=numpy.random.default_rng(0))
    return {
        "name": name,
        "values": values.tolist(),
        "t": [interval.low, interval.high],
        "p": flips.pvalue,
        # Means of few different values lie on a grid, where rounding decides about a whole step.
        "bca": None if len(set(values.tolist())) < 5 else [bca.confidence_interval.low, bca.confidence_interval.high],
        "spread": float(values.std()),
    }


def holm(p):
    """By its definition; SciPy has no Holm."""
    p = numpy.array(p)
    order = numpy.argsort(p, kind="stable")
    steps = numpy.maximum.accumulate(numpy.minimum(1.0, (len(p) - numpy.arange(len(p))) * p[order]))
    out = numpy.empty_like(p)
    out[order] = steps
    return out.tolist()


if __name__ == "__main__":
    several = [0.0625, 0.004, 0.03, 0.8, 0.03]
    cases = {"samples": [case(*item) for item in SAMPLES.items()], "holm": [several, holm(several)]}
    pathlib.Path(__file__).with_suffix(".json").write_text(json.dumps(cases) + "\n")
