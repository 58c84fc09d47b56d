"""An evaluator of the training loop: how well nearest neighbors classify with the current features."""

from typing import Any

from zoo import checks, features
from zoo.methods import evaluation
from zoo.methods import method as methods
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
