"""Evaluators of the training loop: how well nearest neighbors classify with the current features, and their ranks."""

from typing import Any

import numpy as np
from keras import ops

from zoo import checks, engine, features, seeds
from zoo.methods import evaluation
from zoo.methods import method as methods
from zoo.objectives import ranks
from zoo.transfer import knn, splits


class KNN:
    """Weighted nearest neighbors on the frozen features of a method's first encoder, see `zoo.transfer.knn`.

    A checkpoint that is picked by this number is chosen on `test`. Therefore pass a part of the training split, such as
    `train[90%:]`, and keep the real test images for the end.

    Args:
        train: a `zoo.data.sources.Source` with labels, among whose images the neighbors are found.
        test: a source with labels.
        k: number of neighbors, at most the number of images of `train` that are used.
        temperature: positive float.
        limit: number of images of `train` that are used, drawn at random once; None for all.
        batch_size: number of images that pass through the encoder at once.
        key: the entry of a source's batches that the encoder takes.

    Raises:
        ValueError: a source has no labels, or a setting is out of range.
    """

    def __init__(
        self,
        train: Any,
        test: Any,
        k: int = 200,
        temperature: float = 0.07,
        limit: int | None = 10_000,
        batch_size: int = 256,
        key: str = "image",
    ):
        checks.positive("KNN", temperature=temperature)
        if limit is not None:
            checks.integers("KNN", limit=limit)
        for source in (train, test):
            if source.labels is None:
                raise ValueError(
                    f"KNN: expected sources with labels. Received: {source.name} {source.split}, which has none."
                )
            splits.check("KNN", source.labels, source.size)
        train = train if limit is None else train.sample(limit)
        checks.require(
            checks.is_integer(k) and k <= train.size, "KNN", f"`k` from 1 to the {train.size} training images", k=k
        )
        self.train, self.test = train, test
        self.k, self.temperature, self.batch_size, self.key = k, temperature, batch_size, key
        self._method: Any = None
        self._extractor: features.Extractor | None = None

    def __call__(self, method: methods.Method, run: evaluation.Run) -> dict[str, float]:
        """Returns the current accuracy, `{"knn_accuracy": float}`.

        Args:
            method: the method, or anything else that has `encoders()`.
            run: not used.
        """
        del run
        if self._extractor is None or self._method is not method:  # one graph serves the whole run
            self._method = method
            self._extractor = features.Extractor(method, self.batch_size, self.key)
        train, test = self._extractor(self.train), self._extractor(self.test)
        accuracy, _ = knn.knn_accuracy(train, self.train.labels, test, self.test.labels, self.k, self.temperature)
        return {"knn_accuracy": accuracy}


class Ranks:
    """Measures of the features of a method's first encoder that need no labels, see `zoo.objectives.ranks`.

    Args:
        data: a `zoo.data.sources.Source` with images.
        limit: number of images, drawn at random once. A rank cannot exceed it, and only equal numbers compare.
        views: q, number of views of every image for LiDAR: the first of the run's views, with other random draws.
    """

    def __init__(self, data: Any, limit: int = 1000, views: int = 10):
        checks.integers("Ranks", 2, limit=limit, views=views)
        self.data, self.views = data.sample(limit), views
        checks.require(self.data.size > 2, "Ranks", "`data` of three images or more", images=self.data.size)
        self._method: Any = None

    def __call__(self, method: methods.Method, run: evaluation.Run) -> dict[str, float]:
        """Returns `rank_me` and `alpha_req` of the images, and `lidar` if the run has views.

        Args:
            method: the method, or anything else that has `encoders()`.
            run: the run, for its views and its seed.
        """
        if self._method is not method:
            self._method, self._extract = method, features.Extractor(method)
            self._embed = self._compiled(method, run)
        z = self._extract(self.data)  # [n, F]
        found = {"rank_me": ranks.rank_me(z), "alpha_req": ranks.alpha_req(z)}
        if run.views is not None:
            found["lidar"] = ranks.lidar(np.stack([self._of_views(draw) for draw in range(self.views)], axis=1))
        return {name: float(value) for name, value in found.items()}

    def _compiled(self, method, run):
        encoder = methods.encoder_named(method)

        def embed(images, ids, draw):
            seed = seeds.Seed(run.seed).fold(draw).fold(ids)
            return ops.cast(encoder(run.views(ops.cast(images, "float32") / 255, seed)[0]), "float32")

        return engine.current().compiled(embed, method.variables)

    def _of_views(self, draw):
        """Returns the features of a view of every image, float32 `[n, F]`."""
        rows = []
        for batch in self.data.in_order(min(256, self.data.size)):
            images, ids = (ops.convert_to_numpy(batch[name]) for name in ("image", "id"))
            rows.append(ops.convert_to_numpy(self._embed(images, ids.astype("int32"), np.int32(draw))))
        return np.concatenate(rows)
