"""The interface of a method: an encoder together with the way it is taught."""

import keras


class Method(keras.Model):
    """An encoder together with the way it is taught.

    A method decides which embeddings are compared, by which networks, with what memory. It sees no optimizer, no
    strategy, no data set and no flag. One step of training is

        loss, logs, seen = method.contrast(views, examples, replicas)   # [B], scalars, tensors
        ...                                                             # the loop updates `trainable_variables`
        method.remember(seen, replicas)

    A subclass makes its networks from factories in its constructor, the `encoder` among them.

    Args:
        name: of the model.

    Attributes:
        encoder: the network `[B, H, W, C] -> [B, F]` that is learnt, the first where there are several.
        title: what records and cards call the method.
    """

    # No **kwargs here or below: a misspelt argument is then refused when the gin file is parsed.
    def __init__(self, name=None):
        super().__init__(name=name)
        self.title = name or type(self).__name__.lower()

    def call(self, images, training=False):
        """Features `[B, H, W, C] -> [B, F]`."""
        return self.encoder(images, training=training)

    def check(self, shapes, ids, batch_size, replica_count=1):
        """Refuses views or data that the method cannot contrast; runs before the first step.

        Args:
            shapes: tuple of V view shapes `(H, W, C)`.
            ids: of all examples, integers `[n]`.
            batch_size: of the global batch.
            replica_count: among how many replicas it is divided.

        Raises:
            ValueError: says what to bind.
        """
        del ids, batch_size, replica_count
        for shape in shapes:
            self.check_shape(self.encoder, shape)

    def check_shape(self, encoder, shape):
        """Refuses views of another shape than an encoder's images."""
        wanted = tuple(encoder.input_shape[1:])
        fits = len(shape) == len(wanted) and all(
            size in (None, given) for size, given in zip(wanted, shape, strict=True)
        )
        if not fits:
            raise ValueError(
                f"{type(self).__name__}: expected views of the encoder's image shape {wanted}; bind `image_shape` "
                f"of the encoder or `size` of the crop. Received: shape={tuple(shape)}."
            )

    def embed(self, images, training=False):
        """Unit vectors that the objective compares, `[B, H, W, C] -> [B, D]`."""
        raise NotImplementedError

    def embed_views(self, views):
        """Unit vectors of one or two views that ought to agree, `[B, D]` each: what the loop watches.

        Args:
            views: tuple of V image batches, as for `contrast`.
        """
        return tuple(self.embed(view) for view in views[:2])

    def contrast(self, views, examples, replicas):
        """The loss of a step.

        Args:
            views: tuple of V image batches `[B, H, W, C]` in [0, 1].
            examples: dictionary of what is known of the images: `id`, int32 `[B]`, and `label`, int64 `[B]`, -1 where
                there is none.
            replicas: what is known of the other replicas, see `zoo.replicas`.

        Returns:
            Loss per image `[B]`; a dictionary of scalars to log; a nest of tensors for `remember`. Nothing is kept on
            the method itself, which several replicas may share.
        """
        raise NotImplementedError

    def begin(self):
        """Runs once, when every variable exists and before the first step."""

    def remember(self, seen, replicas):
        """Runs after every update: memory moves on.

        Args:
            seen: the nest of tensors that `contrast` returned.
            replicas: as for `contrast`.
        """

    def feature_extractors(self):
        """The networks that can be judged, exported and fine-tuned, by name; the first is the one that is by default.

        Returns:
            Dictionary of networks `[B, H, W, C] -> [B, F]`.
        """
        return {"image": self.encoder}

    def feature_extractor(self, view=None):
        """One of `feature_extractors`: the first, or that of a view's name.

        Raises:
            ValueError: there is none of that name.
        """
        networks = self.feature_extractors()
        if view is None:
            return next(iter(networks.values()))
        if view not in networks:
            known = ", ".join(networks)
            raise ValueError(f"{type(self).__name__}: expected the view to be one of {known}. Received: view={view!r}.")
        return networks[view]
