"""Isolation forest over the vectors of a service: how easily a point is cut off from the others.

Liu, Ting, Zhou, "Isolation Forest" (2008). scikit-learn grows the trees, from a bounded sample of
the service's past and seldom; here they are walked, which costs a microsecond a vector. The trees
themselves are no state: they are grown again from the sample that they were grown from.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streams.anomaly.blocks import Blocks
from streams.anomaly.detectors import Scores, empty_scores
from streams.wire.compiling import kernel

__all__ = ["FEATURES", "ServiceForest", "grow_trees", "walk"]

FEATURES = ("rate", "error_ratio", "p50", "p90", "p99")
"""What a service's vector is by default."""
_TREES, _SAMPLES, _NODES = 50, 64, 127
"""Trees of a service, points that each is grown from, and how many nodes it then has at most."""
_KEPT = 256
"""Vectors of the past; ..."""
_EVERY = 4
"""... once there are so many, one in so many points replaces the oldest."""
_STRIDE = 97
"""Services' trees grow at different points, so that no block has to wait for many of them."""
_COUNT, _STORED, _GROWN, _VERSION = range(4)


class Trees:
    """Nodes of all trees of a service: (trees, nodes)."""

    def __init__(self) -> None:
        shape = (_TREES, _NODES)
        self.feature = np.full(shape, -1, np.int8)
        """What a node asks for; -1: it is a leaf."""
        self.threshold = np.zeros(shape, np.float64)
        self.left = np.zeros(shape, np.uint8)
        self.right = np.zeros(shape, np.uint8)
        self.path = np.zeros(shape, np.float32)
        """Of a leaf: its depth, and the depth that the points in it would still have."""


def _average_path(points: NDArray[np.int64]) -> NDArray[np.float64]:
    """Average depth of a point in a tree of so many, equation 1 of the paper."""
    many = np.maximum(points, 3).astype(np.float64)
    deep = 2.0 * (np.log(many - 1.0) + np.euler_gamma) - 2.0 * (many - 1.0) / many
    return np.where(points > 2, deep, np.where(points == 2, 1.0, 0.0))


def grow_trees(sample: NDArray[np.float32], seed: int) -> Trees:
    """Trees from a sample (points, features); the same for the same seed."""
    # 90 MB that only who has services shall pay.
    from sklearn.ensemble import IsolationForest  # noqa: PLC0415 - 90 MB, for who grows trees

    forest = IsolationForest(
        n_estimators=_TREES, max_samples=min(_SAMPLES, len(sample)), random_state=seed
    ).fit(sample)
    found = Trees()
    for number, (each, features) in enumerate(
        zip(forest.estimators_, forest.estimators_features_, strict=True)
    ):
        tree = each.tree_
        nodes = tree.node_count
        leaf = tree.children_left < 0
        depth = np.zeros(nodes)
        for node in range(nodes):  # parents come before their children
            if not leaf[node]:
                depth[tree.children_left[node]] = depth[node] + 1
                depth[tree.children_right[node]] = depth[node] + 1
        found.feature[number, :nodes] = np.where(leaf, -1, features[tree.feature])
        found.threshold[number, :nodes] = tree.threshold
        found.left[number, :nodes] = np.where(leaf, 0, tree.children_left)
        found.right[number, :nodes] = np.where(leaf, 0, tree.children_right)
        found.path[number, :nodes] = depth + _average_path(tree.n_node_samples)
    return found


@kernel
def walk(feature, threshold, left, right, path, vector):
    """Mean path length of a vector through all trees."""
    total = 0.0
    for tree in range(feature.shape[0]):
        node = 0
        while feature[tree, node] >= 0:
            if vector[feature[tree, node]] <= threshold[tree, node]:
                node = left[tree, node]
            else:
                node = right[tree, node]
        total += path[tree, node]
    return total / feature.shape[0]


class ServiceForest:
    """A forest per service; a detector whose values are vectors.

    Features are compressed by asinh in units of their mean size, so that a burst does not take all
    cuts. A feature that is missing keeps its last value; one that was never there is 0.
    """

    name = "forest"
    families = ((1, 1.0),)

    def __init__(
        self,
        capacity: int,
        *,
        seed: int,
        features: int = len(FEATURES),
        warmup: int = 100,
        regrow: int = 2000,
    ) -> None:
        self._seed, self._features = seed, features
        self._warmup, self._regrow = warmup, regrow
        self._trees: dict[int, Trees] = {}
        self.blocks = Blocks(
            capacity,
            {
                "kept": ("<f4", _KEPT * features),
                "sample": ("<f4", _KEPT * features),
                "size": ("<f8", features),
                "last": ("<f4", features),
                "place": ("<i8", 4),
            },
        )

    def observe(
        self, series: NDArray[np.int32], time_ms: NDArray[np.int64], values: NDArray[np.float64]
    ) -> Scores:
        """See ``Detector``; ``values`` is (n, features), and a row of NaN alone is missing."""
        found = empty_scores(1, len(series))
        known = ~np.all(np.isnan(values), axis=1)
        for row in np.flatnonzero(known):
            found.score[0, row] = self._point(int(series[row]), values[row])
        return found

    def forget(self, series: NDArray[np.int32]) -> None:
        """These services are as new."""
        self.blocks.forget(series)
        for each in series.tolist():
            self._trees.pop(each, None)

    def restored(self) -> None:
        """The blocks were filled from a snapshot: trees are grown from them when needed."""
        self._trees.clear()

    def _point(self, i: int, given: NDArray[np.float64]) -> float:
        place, size, last = (self.blocks[name][i] for name in ("place", "size", "last"))
        count = int(place[_COUNT]) + 1
        place[_COUNT] = count
        there = np.isfinite(given)
        value = np.where(there, given, 0.0)
        size += np.where(there, (np.abs(value) - size) / min(count, 4000), 0.0)
        unit = np.where(size > 0.0, size, 1.0)
        vector = np.where(there, np.arcsinh(value / unit), last).astype(np.float32)
        last[:] = vector
        score = np.nan
        if place[_GROWN]:
            trees = self._trees.get(i) or self._grow(i)
            mean = walk(
                *(trees.feature, trees.threshold, trees.left, trees.right, trees.path, vector)
            )
            score = float(2.0 ** (-mean / _USUAL_PATH))
        self._keep(i, place, vector, count)
        if self._due(i, count):
            self.blocks["sample"][i] = self.blocks["kept"][i]
            place[_GROWN] = min(int(place[_STORED]), _KEPT)
            place[_VERSION] += 1
            self._grow(i)
        return score

    def _due(self, i: int, count: int) -> bool:
        """First with a short past, then with a full one, then seldom."""
        first = self._warmup + i * _STRIDE % self._warmup
        return count in (first, first + _KEPT) or (
            count > first + _KEPT and count % self._regrow == i * _STRIDE % self._regrow
        )

    def explain(self, i: int, given: NDArray[np.float64]) -> tuple[int, int]:
        """The feature of a vector that is farthest from its service's past, and which way.

        Its index and 1 or -1; (-1, 0): nothing is known.
        """
        place = self.blocks["place"][i]
        points = min(int(place[_STORED]), _KEPT)
        if points < self._warmup:
            return -1, 0
        past = self.blocks["kept"][i].reshape(_KEPT, self._features)[:points]
        low, middle, high = np.quantile(past, (0.1, 0.5, 0.9), axis=0)
        size = self.blocks["size"][i]
        vector = np.arcsinh(np.nan_to_num(given) / np.where(size > 0.0, size, 1.0))
        away = np.where(np.isfinite(given), vector - middle, 0.0)
        far = np.abs(away) / np.maximum(high - low, 1e-6)
        feature = int(np.argmax(far))
        return feature, int(np.sign(away[feature]))

    def _keep(
        self, i: int, place: NDArray[np.int64], vector: NDArray[np.float32], count: int
    ) -> None:
        stored = int(place[_STORED])
        if stored < _KEPT or count % _EVERY == 0:
            start = stored % _KEPT * self._features
            self.blocks["kept"][i, start : start + self._features] = vector
            place[_STORED] = stored + 1

    def _grow(self, i: int) -> Trees:
        place = self.blocks["place"][i]
        points = int(place[_GROWN])
        sample = self.blocks["sample"][i].reshape(_KEPT, self._features)[:points]
        seed = np.random.SeedSequence([self._seed, i, int(place[_VERSION])])
        trees = grow_trees(sample, int(seed.generate_state(1)[0]))
        self._trees[i] = trees
        return trees


_USUAL_PATH = float(_average_path(np.array([_SAMPLES]))[0])
