"""What one step of training computes, on any engine: views of a batch, and the loss of a method on them."""

from keras import ops

from zoo import seeds


class Task:
    """A method, its views and its optimizer; each engine's step is a subclass that updates.

    Args:
        method: a `zoo.methods.method.Method`.
        views: a `zoo.views.view.Views`: `(images, seed) -> tuple of V batches`.
        optimizer: a built Keras optimizer.
        seed: the run's seed, an integer.
        steps_per_epoch: how many steps visit every example once.
    """

    def __init__(self, method, views, optimizer, seed, steps_per_epoch):
        self.method = method
        self.views = views
        self.optimizer = optimizer
        self.seed = seed
        self.steps_per_epoch = steps_per_epoch

    def make_views(self, batch, step):
        """The views of a batch: they depend on run, epoch, example and view, on nothing else."""
        images = ops.cast(batch["image"], "float32") / 255  # [B, H, W, C]
        epoch = ops.cast(step // self.steps_per_epoch, "int32")
        return self.views(images, seeds.Seed(self.seed).fold(epoch).fold(batch["id"]))

    def objective(self, views, batch, group):
        """What is minimised, this replica's share of the global mean loss; scalars to log; and what to remember."""
        loss, logs, seen = self.method.contrast(views, batch, group)  # [B]
        mean = ops.mean(loss)
        share = mean / group.count
        if hasattr(self.optimizer, "dynamic_scale"):
            share = self.optimizer.scale_loss(share)
        return share, {"loss": mean, **logs}, seen
