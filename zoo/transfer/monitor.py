"""How good the features are while they are learnt: nearest neighbours, every so often, as an evaluator of the loop."""

import numpy as np

from zoo import features, seeds
from zoo.transfer import knn, splits


class KNN:
    """Weighted nearest neighbours of the frozen features, see `zoo.transfer.knn`.

    Whoever picks a checkpoint by this number has chosen on `test`: give it a part of the training split, such as
    `train[90%:]`, and keep the real test images for the end.

    Args:
        train: a `zoo.data.sources.Source` with labels, among whose images neighbours are looked for.
        test: a source with labels.
        k: neighbours, at most the images of `train` that are used.
        temperature: positive float.
        limit: so many images of `train`, drawn at random once, are used; None for all.
        batch_size: images that pass the encoder at once.
    """

    def __init__(self, train, test, k=200, temperature=0.07, limit=10_000, batch_size=256):
        if not temperature > 0:
            raise ValueError(f"KNN: expected `temperature` > 0. Received: temperature={temperature}.")
        if limit is not None and limit < 1:
            raise ValueError(f"KNN: expected `limit` to be at least 1, or None. Received: limit={limit}.")
        for source in (train, test):
            if source.labels is None:
                raise ValueError(
                    f"KNN: expected a source with labels. Received: {source.name} {source.split}, which has none."
                )
            splits.check("KNN", source.labels, source.size)
        if limit is not None and limit < train.size:
            train = train.subset(np.sort(seeds.shuffled(train.size, 0)[:limit]))
        if not 1 <= k <= train.size:
            raise ValueError(f"KNN: expected `k` from 1 to the {train.size} training images. Received: k={k}.")
        self.train, self.test = train, test
        self.k, self.temperature, self.batch_size = k, temperature, batch_size
        self._method = self._extractor = None

    def __call__(self, method, step):
        """The accuracy now: `{"knn_accuracy": float}`.

        Args:
            method: a `zoo.methods.method.Method`.
            step: not used; evaluators are called with it.
        """
        del step
        if self._method is not method:  # one graph serves the whole run
            self._method, self._extractor = method, features.Extractor(method, self.batch_size)
        train, test = self._extractor(self.train), self._extractor(self.test)
        accuracy, _ = knn.knn_accuracy(train, self.train.labels, test, self.test.labels, self.k, self.temperature)
        return {"knn_accuracy": accuracy}
