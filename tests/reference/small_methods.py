"""Seven methods as small as they get: each needs another part of the interface. The real ones are in `zoo.methods`."""

import functools

import keras
import numpy as np
from keras import layers, ops

from zoo.methods import memory, method, networks
from zoo.models import convnet, heads, initial
from zoo.objectives import info_nce

encoder = functools.partial(convnet.convnet, widths=(4, 8))


def head(features, width=8, name="projector"):
    return heads.projector(features, (16, width), name=name)


def dense(units, **arguments):
    """A layer whose weights are drawn by NumPy, the same on every engine."""
    return layers.Dense(units, kernel_initializer=initial.fan_in(), **arguments)


class MultiCrop(method.Method):
    """Prototypes and crops of two sizes (SwAV): codes of the large crops are predicted from every other crop."""

    def begin(self, spec):
        self.embedder = networks.Embedder(encoder, head, spec.view_shapes[0])
        self.prototypes = dense(6, use_bias=False, name="prototypes")
        self.prototypes.build((None, self.embedder.width))
        self.sizes = [shape[0] for shape in spec.view_shapes]

    def contrast(self, batch, step):
        scores = []
        for size in dict.fromkeys(self.sizes):  # crops of a size pass the encoder together
            crops = [view for view, own in zip(batch.views, self.sizes, strict=True) if own == size]
            embeddings = self.embedder(ops.concatenate(crops), training=True)
            scores += ops.split(self.prototypes(embeddings), len(crops))  # [B, 6] each
        loss = 0.0
        for code_view in range(2):
            codes = self.codes(ops.stop_gradient(scores[code_view]), step.replicas)
            for number, score in enumerate(scores):
                if number != code_view:
                    loss = loss - ops.sum(codes * ops.log_softmax(score / 0.1), axis=1)
        return loss / (2 * (len(scores) - 1)), {}, ()

    def codes(self, scores, replicas):
        """Sinkhorn over the global batch, [B, 6]."""
        q = ops.exp(replicas.gather(scores) / 0.05)  # [N, 6]
        for _ in range(3):
            q = q / ops.sum(q, axis=0, keepdims=True)
            q = q / ops.sum(q, axis=1, keepdims=True)
        return ops.take(q, replicas.index * scores.shape[0] + ops.arange(scores.shape[0]), axis=0)

    def encoders(self):
        return {"image": self.embedder.encoder}


class SlowTarget(method.Method):
    """A predictor and a slow target whose momentum goes to 1 (BYOL)."""

    def begin(self, spec):
        self.expect_views(spec, "online", "target")
        self.online, self.target = (
            networks.Embedder(encoder, head, spec.view_shapes[0], name=name) for name in ("online", "target")
        )
        self.predictor = head(self.online.width, name="predictor")
        self.average = memory.Average(self.online.trainable_variables, self.target.trainable_variables)

    def contrast(self, batch, step):
        loss = 0.0
        for first, second in (batch.views, batch.views[::-1]):
            predicted = networks.unit(self.predictor(self.online(first, training=True), training=True))
            target = ops.stop_gradient(self.target(second, training=True))
            loss = loss + 2 - 2 * ops.sum(predicted * target, axis=1)
        return loss, {}, ()

    def remember(self, seen, step):
        self.average.update(1 - 0.05 * (ops.cos(np.pi * step.progress) + 1) / 2)

    def encoders(self):
        return {"image": self.online.encoder}


class Labels(method.Method):
    """Images of the same class attract each other (SupCon)."""

    def begin(self, spec):
        if not spec.classes:
            raise ValueError("Labels: expected data with labels. Received: classes=0.")
        self.embedder = networks.Embedder(encoder, head, spec.view_shapes[0])

    def contrast(self, batch, step):
        z = self.embedder(ops.concatenate(batch.views), training=True)  # [2B, D]
        ids, label = (ops.concatenate([values, values]) for values in (batch.id, batch.label))
        view = ops.repeat(ops.arange(2), batch.id.shape[0])
        others, other_ids, other_labels, other_view = map(step.replicas.gather, (z, ids, label, view))
        logits = ops.matmul(z, ops.transpose(others)) / 0.2  # [2B, 2N]
        same = ops.logical_and(ids[:, None] == other_ids, view[:, None] == other_view)
        logits = logits - 1e9 * ops.cast(same, "float32")
        positive = ops.cast(label[:, None] == other_labels, "float32") * (1 - ops.cast(same, "float32"))
        log_share = ops.log_softmax(logits, axis=1)
        loss = -ops.sum(positive * log_share, axis=1) / ops.sum(positive, axis=1)
        return sum(ops.split(loss, 2)) / 2, {}, ()

    def encoders(self):
        return {"image": self.embedder.encoder}


class Clusters(method.Method):
    """K-means over all images before every epoch; an image is drawn to the center of its cluster (PCL)."""

    def begin(self, spec):
        self.embedder = networks.Embedder(encoder, head, spec.view_shapes[0])
        state = {"trainable": False, "autocast": False, "initializer": "zeros"}
        self.centers = self.add_weight(shape=(5, self.embedder.width), name="centers", **state)
        self.assignments = self.add_weight(shape=(len(spec.ids),), dtype="int32", name="assignments", **state)

    def new_epoch(self, epoch, extract):
        z = extract(self.embedder)  # [n, D]
        centers = z[:: len(z) // 5][:5].copy()
        for _ in range(5):
            nearest = np.argmax(z @ centers.T, axis=1)
            for cluster in set(nearest):
                mean = z[nearest == cluster].mean(axis=0)
                centers[cluster] = mean / np.linalg.norm(mean)
        self.centers.assign(centers)
        self.assignments.assign(nearest.astype("int32"))

    def contrast(self, batch, step):
        first, second = (self.embedder(view, training=True) for view in batch.views)
        pairs, logs = info_nce.nt_xent(first, second, 0.2, step.replicas)
        logits = ops.matmul(first, ops.transpose(ops.convert_to_tensor(self.centers))) / 0.2
        cluster = ops.take(ops.convert_to_tensor(self.assignments), batch.id)
        return pairs - ops.sum(ops.one_hot(cluster, 5) * ops.log_softmax(logits), axis=1), logs, ()

    def encoders(self):
        return {"image": self.embedder.encoder}


class Adversary(method.Method):
    """A generator re-mixes the pixels of a view against the encoder, by an optimizer of its own (InfoMin)."""

    def begin(self, spec):
        channels = spec.view_shapes[0][-1]
        self.embedder = networks.Embedder(encoder, head, spec.view_shapes[0])
        self.generator = keras.Sequential([dense(4, name="in"), dense(channels, name="out")])
        self.generator.build((None, None, None, channels))

    def contrast(self, batch, step):
        first, second = batch.views
        remixed = ops.sigmoid(self.generator(second))
        remixed = 2 * ops.stop_gradient(remixed) - remixed  # the same values, the opposite gradient
        first, second = self.embedder(first, training=True), self.embedder(remixed, training=True)
        return *info_nce.nt_xent(first, second, 0.2, step.replicas), ()

    def encoders(self):
        return {"image": self.embedder.encoder}


class FineTuning(method.Method):
    """A classifier on an encoder, all layers trained."""

    def begin(self, spec):
        self.encoder = encoder(image_shape=(None, None, spec.view_shapes[0][-1]))
        self.classifier = dense(spec.classes, name="classifier")
        self.classifier.build((None, self.encoder.output_shape[-1]))

    def contrast(self, batch, step):
        logits = self.classifier(self.encoder(batch.views[0], training=True))
        hit = ops.cast(ops.argmax(logits, axis=1) == batch.label, "float32")
        loss = keras.losses.sparse_categorical_crossentropy(batch.label, logits, from_logits=True)
        return loss, {"accuracy": ops.mean(hit)}, ()


class Bound(method.Method):
    """InfoNCE of two vectors by a separable critic: no views, no images."""

    def begin(self, spec):
        inputs = [keras.Input(spec.extra_shapes[name]) for name in ("x", "y")]
        self.critics = [keras.Model(x, dense(8)(dense(16, activation="relu")(x))) for x in inputs]

    def contrast(self, batch, step):
        x, y = (critic(batch.extra[name]) for critic, name in zip(self.critics, ("x", "y"), strict=True))
        scores = ops.matmul(x, ops.transpose(step.replicas.gather(y)))  # [B, N]
        own = step.replicas.index * x.shape[0] + ops.arange(x.shape[0])
        positive = ops.sum(scores * ops.one_hot(own, scores.shape[1]), axis=1)
        information = np.log(scores.shape[1]) + positive - ops.logsumexp(scores, axis=1)
        return -information, {"information": ops.mean(information)}, ()

    def encoders(self):
        return dict(zip(("x", "y"), self.critics, strict=True))
