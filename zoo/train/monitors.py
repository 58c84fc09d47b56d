"""What the loop watches without labels: how the embeddings of a fixed set of images lie on the sphere."""

import numpy as np

from zoo import engine
from zoo.objectives import geometry


class Geometry:
    """Uniformity and effective rank of the embeddings, and alignment where an image has two views.

    Args:
        on_replica: the run's `zoo.train.task.Task`, for its method and its views.
        data: a `Source`; its first `count` images are watched.
        count: number of images.
    """

    def __init__(self, on_replica, data, count=512):
        rows = np.arange(min(count, data.size))
        self._images = data.fetch(rows)
        self._ids = data.ids[rows].astype(np.int32)

        def measure(images, ids):
            # The views of epoch 0, at every step: what changes is the network.
            views = on_replica.make_views({"image": images, "id": ids}, 0)
            a, *others = on_replica.method.embed_views(views)  # [B, D]
            found = {"uniformity": geometry.uniformity(a), "effective_rank": geometry.effective_rank(a)}
            return {"alignment": geometry.alignment(a, others[0]), **found} if others else found

        self._measure = engine.current().compiled(measure, on_replica.method.variables)

    def __call__(self, method, step):
        """The numbers, as the method stands."""
        del method, step
        return {name: float(value) for name, value in self._measure(self._images, self._ids).items()}
