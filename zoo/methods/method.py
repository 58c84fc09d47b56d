"""The interface of a method: an encoder together with the way it is taught."""

import keras


class Method(keras.Model):
    """An encoder together with the way it is taught.

    A method decides which embeddings are compared, by which networks, with what memory. It sees no optimizer, no
    strategy, no data set and no flag. One step of training is

        loss, logs = method.contrast(views, replicas)   # [B], scalars
        ...                                             # the loop updates `trainable_variables`
        method.remember()

    Args:
        encoder: factory of a network `[B, H, W, C] -> [B, F]`, called without arguments.
        name: of the model.
    """

    # No **kwargs here or below: a misspelt argument is then refused when the gin file is parsed.
    def __init__(self, encoder, name=None):
        super().__init__(name=name)
        self.encoder = encoder()

    def call(self, images, training=False):
        """Features `[B, H, W, C] -> [B, F]`."""
        return self.encoder(images, training=training)

    def check(self, shapes):
        """Refuses views that the method cannot contrast; runs before the first step.

        Args:
            shapes: tuple of V view shapes `(H, W, C)`.

        Raises:
            ValueError: says what to bind.
        """
        wanted = tuple(self.encoder.input_shape[1:])
        for shape in shapes:
            if any(size not in (None, given) for size, given in zip(wanted, shape, strict=True)):
                raise ValueError(
                    f"{type(self).__name__}: expected views of the encoder's image shape {wanted}; bind `image_shape` "
                    f"of the encoder or `size` of the crop. Received: shape={tuple(shape)}."
                )

    def embed(self, images, training=False):
        """Unit vectors that the objective compares, `[B, H, W, C] -> [B, D]`."""
        raise NotImplementedError

    def contrast(self, views, replicas):
        """The loss of a step.

        Args:
            views: tuple of V image batches `[B, H, W, C]` in [0, 1].
            replicas: what is known of the other replicas, see `zoo.replicas`.

        Returns:
            Loss per image `[B]`, and a dictionary of scalars to log.
        """
        raise NotImplementedError

    def begin(self):
        """Runs once, when every variable exists and before the first step."""

    def remember(self):
        """Runs after every update: memory moves on."""

    def feature_extractor(self):
        """The network that is judged, exported and fine-tuned, `[B, H, W, C] -> [B, F]`."""
        return self.encoder
