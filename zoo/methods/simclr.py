"""SimCLR: two views of an image agree, against every other image in the batch.

Chen et al., 2020, https://arxiv.org/abs/2002.05709; v2: https://arxiv.org/abs/2006.10029
"""

from keras import ops

from zoo.methods import method
from zoo.models import heads
from zoo.objectives import info_nce


class SimCLR(method.Method):
    """SimCLR v1, and v2 by its head: three layers deep, of which fine-tuning keeps the first.

    Args:
        encoder: factory of a network `[B, H, W, C] -> [B, F]`.
        projector: factory of a head, called with F: a network `[B, F] -> [B, D]`, discarded after training.
        temperature: positive float; 0.1 on ImageNet, 0.5 on CIFAR-10 (v1, Appendix B.9).
        kept_layers: hidden layers of the head that stay with the features that are judged and exported: 0 in v1, 1 in
            v2 (Section 2: "fine-tuning from a middle layer of the projection head").
        name: of the model.
    """

    def __init__(self, encoder, projector=heads.projector, temperature=0.1, kept_layers=0, name=None):
        super().__init__(name)
        self.encoder = encoder()
        if not temperature > 0:
            raise ValueError(f"SimCLR: expected `temperature` > 0. Received: temperature={temperature}.")
        self.projector = projector(self.encoder.output_shape[-1])
        self.temperature = temperature
        self.extractor = heads.kept(self.encoder, self.projector, kept_layers) if kept_layers else self.encoder

    def embed(self, images, training=False):
        """Unit vectors `[B, H, W, C] -> [B, D]`."""
        embeddings = self.projector(self.encoder(images, training=training), training=training)  # [B, D]
        return ops.normalize(ops.cast(embeddings, "float32"), axis=-1)

    def check(self, shapes, ids, batch_size, replica_count=1):
        """Refuses anything but two views of the encoder's image shape."""
        if len(shapes) != 2:
            raise ValueError(f"SimCLR: expected 2 views, bind `view.Views.chains`. Received: {len(shapes)} views.")
        super().check(shapes, ids, batch_size, replica_count)

    def contrast(self, views, examples, replicas):
        """NT-Xent of two views; both pass the encoder together, so that batch norm sees them as one batch."""
        del examples
        both = self.embed(ops.concatenate(views, axis=0), training=True)  # [2B, D]
        a, b = ops.split(both, 2, axis=0)  # [B, D] each
        return *info_nce.nt_xent(a, b, self.temperature, replicas), ()

    def feature_extractors(self):
        """The encoder, with the kept layers of the head."""
        return {"image": self.extractor}
