"""Writes similarity.json: measures for reports, their null distributions, and error consistency, by packages of others.

Needs, and only to write the file anew:
    pip install torch scipy scikit-learn rsatoolbox calibrated-similarity
    pip install --no-deps pytorch-cka
    python3 tests/golden/similarity.py
| number | oracle |
|---|---|
| cka | scikit-learn's KernelCenterer, and the cosine of what it gives |
| debiased_cka | pytorch-cka's HSIC |
| mutual_knn | scikit-learn's NearestNeighbors by cosine |
| procrustes | SciPy's orthogonal_procrustes; rsatoolbox' Bures similarity is the cosine of the same angle, to 1e-6 |
| svcca | scikit-learn's PCA(0.99) and CCA |
| null | calibrated-similarity, with the measures above and the same permutations |
| predictions | scikit-learn's cohen_kappa_score and accuracy_score |
The angle is the distance of netrep's LinearMetric(alpha=1), which is in no registry.
"""

import json
import math
import pathlib
import warnings

import numpy as np
import torch
from calibrated_similarity import calibrate, calibrate_layers
from cka.hsic import hsic
from rsatoolbox.rdm import RDMs, compare
from scipy.linalg import orthogonal_procrustes
from scipy.spatial.distance import pdist
from sklearn.cross_decomposition import CCA
from sklearn.decomposition import PCA
from sklearn.metrics import accuracy_score, cohen_kappa_score
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import KernelCenterer

NEIGHBORS = 10


def cka(x, y):
    k, l = (KernelCenterer().fit_transform(z @ z.T).ravel() for z in (x, y))
    return k @ l / np.linalg.norm(k) / np.linalg.norm(l)


def debiased_cka(x, y):
    k, l = (torch.from_numpy((z @ z.T)[None]) for z in (x, y))
    cross, own, other = (float(term) for term in hsic(k, l))
    return cross / math.sqrt(own * other)


def mutual_knn(x, y):
    def lists(z):
        nearest = NearestNeighbors(n_neighbors=NEIGHBORS, metric="cosine").fit(z)
        return [set(row) for row in nearest.kneighbors(return_distance=False)]

    return np.mean([len(a & b) / NEIGHBORS for a, b in zip(lists(x), lists(y))])


def procrustes(x, y):
    width = max(x.shape[1], y.shape[1])
    pad = lambda z: np.pad(z - z.mean(0), [(0, 0), (0, width - z.shape[1])])
    x, y = pad(x), pad(y)
    _, nuclear = orthogonal_procrustes(x, y)
    cosine = nuclear / np.linalg.norm(x) / np.linalg.norm(y)
    rdms = [RDMs(pdist(z, "sqeuclidean")[None]) for z in (x, y)]
    assert abs(cosine - compare(*rdms, method="bures").item()) < 1e-6
    return 1 - 2 / math.pi * math.acos(min(cosine, 1))


def svcca(x, y):
    x, y = (PCA(0.99, svd_solver="full").fit_transform(z) for z in (x, y))
    count = min(x.shape[1], y.shape[1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # where it does not converge
        a, b = CCA(count, max_iter=1_000_000, tol=1e-20).fit_transform(x, y)
    return np.mean([np.corrcoef(a[:, i], b[:, i])[0, 1] for i in range(count)])


MEASURES = {f.__name__: f for f in (cka, debiased_cka, mutual_knn, procrustes, svcca)}


def drawn(rng, n, width, common=None, share=0.0):
    # What f32 holds exactly, so that Trellis starts from the same numbers.
    spectrum = 1 / np.arange(1, width + 1)
    x = rng.normal(size=(n, width)) * spectrum + 0.3
    if common is not None:
        x = x + share * common @ rng.normal(size=(common.shape[1], width))
    return x.astype(np.float32).astype(np.float64)


def numbers(x):
    return [float(f"{value:.9g}") for value in x.ravel()]


def case(rng, n, p, q, share):
    common = rng.normal(size=(n, 3))
    x, y = drawn(rng, n, p, common, share), drawn(rng, n, q, common, share)
    values = {name: float(measure(x, y)) for name, measure in MEASURES.items()}
    return {"n": n, "x": numbers(x), "y": numbers(y), "measures": values}


def in_numpy(measure):
    return lambda x, y: float(measure(x.numpy(), y.numpy()))


def null(rng, n, widths, count):
    common = rng.normal(size=(n, 3))
    layers = [[drawn(rng, n, width, common, 0.3) for width in side] for side in widths]
    orders = [rng.permutation(n) for _ in range(count)]

    def given():
        left = iter(orders)
        return lambda n, device: torch.from_numpy(next(left))

    tensors = [[torch.from_numpy(layer) for layer in side] for side in layers]
    results = {}
    for name, measure in MEASURES.items():
        compare = in_numpy(measure)
        pair = lambda a, b: calibrate(a, b, compare, K=count, perm_fn=given())
        pairs = [pair(a, b) for a in tensors[0] for b in tensors[1]]
        # The greatest of several, each in the units of its own null distribution.
        critical = torch.stack([result[2] for result in pairs]).view(len(tensors[0]), -1)
        greatest = lambda critical: lambda table: ((table - critical) / (1 - critical)).max()
        several = lambda a, b, critical: calibrate_layers(a, b, compare, agg=greatest(critical), K=count, perm_fn=given())
        rows = [several([a], tensors[1], critical[[i]]) for i, a in enumerate(tensors[0])]
        columns = [several(tensors[0], [b], critical[:, [i]]) for i, b in enumerate(tensors[1])]
        best = several(*tensors, critical)
        plain = lambda result: [float(value) for value in result]  # calibrated, p, critical
        parts = {"pairs": pairs, "rows": rows, "columns": columns, "best": [best]}
        results[name] = {part: list(map(plain, found)) for part, found in parts.items()}
    return {
        "n": n,
        "a": [numbers(layer) for layer in layers[0]],
        "b": [numbers(layer) for layer in layers[1]],
        "permutations": [order.tolist() for order in orders],
        "measures": results,
    }


def predictions(rng, count, classes):
    labels, a, b = rng.integers(0, classes, size=(3, count))
    both = rng.random(count) < 0.4
    a, b = np.where(both, labels, a), np.where(both | (rng.random(count) < 0.2), labels, b)
    return {
        "labels": labels.tolist(),
        "a": a.tolist(),
        "b": b.tolist(),
        "top1": [accuracy_score(labels, a), accuracy_score(labels, b)],
        "agreement": accuracy_score(a, b),
        "kappa": cohen_kappa_score(a == labels, b == labels),
    }


if __name__ == "__main__":
    rng = np.random.default_rng(7)
    sizes = [(12, 5, 7, 0.5), (16, 40, 3, 1.0), (24, 9, 8, 0.2), (20, 30, 45, 2.0)]
    cases = [case(rng, *size) for size in sizes]
    result = {
        "cases": cases,
        "null": null(rng, 14, [[4, 20], [5, 3]], 39),
        "predictions": [predictions(rng, 60, 3), predictions(rng, 40, 10)],
    }
    pathlib.Path(__file__).with_suffix(".json").write_text(json.dumps(result) + "\n")
