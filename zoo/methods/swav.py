"""SwAV: the cluster assignments of a view are predicted from the other views of the image.

Caron et al., 2020, https://arxiv.org/abs/2006.09882
"""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from zoo import checks
from zoo.methods import memory, method, networks
from zoo.models import heads
from zoo.objectives import geometry, swapped


class SwAV(method.Method):
    """Swapping assignments between views: two large crops are assigned to prototypes, which all crops predict.

    Args:
        encoder: factory of a network `[B, H, W, C] -> [B, F]`, called with `image_shape`.
        projector: factory of a head `[B, F] -> [B, D]`, called with F.
        prototypes: K.
        temperature: positive.
        epsilon: softness of the assignments, positive, see `swapped.sinkhorn`.
        iterations: see `swapped.sinkhorn`.
        frozen_steps: number of steps at the start during which the prototypes do not learn.
        queue_size: number of earlier embeddings, for each global crop, that are assigned together with the batch; for
            batches that are small relative to the number of prototypes.
        queue_start: number of epochs before the queue is used.
        name: name of the model.
    """

    def __init__(
        self,
        encoder: Callable,
        projector: Callable = heads.projector,
        prototypes: int = 3000,
        temperature: float = 0.1,
        epsilon: float = 0.05,
        iterations: int = 3,
        frozen_steps: int = 313,
        queue_size: int = 0,
        queue_start: int = 15,
        name: str | None = None,
    ):
        super().__init__(name)
        checks.positive("SwAV", temperature=temperature, epsilon=epsilon)
        checks.integers("SwAV", prototypes=prototypes, iterations=iterations)
        checks.integers("SwAV", 0, frozen_steps=frozen_steps, queue_size=queue_size, queue_start=queue_start)
        self.make_encoder, self.make_projector = encoder, projector
        self.count, self.temperature, self.epsilon, self.iterations = prototypes, temperature, epsilon, iterations
        self.frozen_steps, self.queue_size, self.queue_start = frozen_steps, queue_size, queue_start

    def begin(self, spec: method.Spec) -> None:
        """Makes the encoder, its projector, the prototypes and the queues."""
        self.expect_crops(spec)
        expected = f"`prototypes` of at most the {len(spec.ids)} images"
        checks.require(self.count <= len(spec.ids), "SwAV", expected, prototypes=self.count)
        assigned = spec.batch_size + self.queue_size
        expected = (
            f"`prototypes` of at most the {assigned} images assigned at once, those of the batch and of the queue"
        )
        checks.require(self.count <= assigned, "SwAV", expected, prototypes=self.count, batch_size=spec.batch_size)
        self.embedder = networks.embedder(self.make_encoder, self.make_projector, spec.view_shapes)
        shape = (self.embedder.width, self.count)
        self.prototypes = self.add_weight(
            shape=shape, initializer=memory.unit_columns, autocast=False, name="prototypes"
        )
        self.queues = []
        for name in ("first_queue", "second_queue") if self.queue_size else ():
            self.queues.append(memory.MomentumQueue(self.queue_size, self.embedder.width, name=name))
            self.queues[-1].check(spec)

    def contrast(self, batch: method.Batch, step: method.Step) -> tuple[Any, dict[str, Any], Any]:
        """Returns the cross-entropies of the assignments of each global crop and the scores of all other crops."""
        features = networks.features_by_size(self.embedder.encoder, batch.views)  # V of [B, F]
        joined = networks.unit(self.embedder.projector(ops.concatenate(features, axis=0), training=True))  # [V * B, D]
        prototypes = ops.convert_to_tensor(self.prototypes)  # [D, K]
        prototypes = ops.where(step.number < self.frozen_steps, ops.stop_gradient(prototypes), prototypes)
        scores = ops.split(ops.matmul(joined, prototypes), len(features), axis=0)  # V of [B, K]
        codes = [self.codes(scores[number], number, step) for number in range(2)]

        def objective(score, code):
            return swapped.swapped_prediction(score, code, self.temperature)

        loss, logs = networks.averaged(objective, networks.across(scores, codes))
        seen = [step.replicas.gather(z) for z in ops.split(joined, len(features), axis=0)[:2]] if self.queues else []
        return loss, logs, (seen, step.replicas.gather(batch.id))

    def codes(self, scores: Any, number: int, step: method.Step) -> Any:
        """Returns the assignments of a global crop, `[B, K]`, balanced over the global batch and the queue."""
        if not self.queues:
            return swapped.sinkhorn(scores, self.epsilon, self.iterations, step.replicas)
        keys, filled = self.queues[number].share(step.replicas)  # [L / R, D], [L / R]
        used = ops.cast(ops.logical_and(filled, step.epoch >= self.queue_start), "float32")
        weight = ops.concatenate([ops.ones_like(scores[:, 0]), used], axis=0)
        every = ops.concatenate([scores, ops.matmul(keys, ops.convert_to_tensor(self.prototypes))], axis=0)
        return swapped.sinkhorn(every, self.epsilon, self.iterations, step.replicas, weight)[: scores.shape[0]]

    def remember(self, seen: Any, step: method.Step) -> None:
        """Scales the prototypes to unit length, and pushes the embeddings of the global crops into the queues."""
        self.prototypes.assign(ops.normalize(self.prototypes, axis=0))
        for queue, embeddings in zip(self.queues, seen[0], strict=True):
            queue.push(embeddings, seen[1])

    def watch(self, batch: method.Batch) -> dict[str, Any]:
        """Returns the alignment, uniformity and rank of the embeddings of the global crops."""
        return geometry.measurements(*(self.embedder(view) for view in batch.views[:2]))

    def encoders(self) -> dict[str, keras.Model]:
        """Returns the encoder."""
        return {"image": self.embedder.encoder}
