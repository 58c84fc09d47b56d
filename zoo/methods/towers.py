"""The towers of CMC: one encoder per view, the contrasted pairs of towers, and the base of methods that have towers."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from zoo import checks
from zoo.methods import method, networks
from zoo.models import joined as joining
from zoo.objectives import geometry

_JOINED = "joined"


class Towers:
    """Builds and applies M towers; the method owns the networks.

    Args:
        encoders: pairs (name, factory of an encoder). Not a dictionary, because gin does not keep the order of entries.
        projector: factory of a head `[B, F] -> [B, D]`, called with F.
        pairs: "full" or "core", see `zoo.methods.cmc.CMC`.
        joined: names of towers whose features are concatenated, or None for the default, see `zoo.methods.cmc.CMC`.

    Attributes:
        names: names of the towers.
        pairs: numbers (i, j) of the contrasted towers, in both directions.
    """

    def __init__(
        self,
        encoders: Sequence[tuple[str, Callable]],
        projector: Callable,
        pairs: str = "full",
        joined: Sequence[str] | None = None,
    ):
        checks.one_of("CMC", "pairs", pairs, ("full", "core"))
        valid = isinstance(encoders, list | tuple) and len(encoders) > 1
        valid = valid and all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in encoders)
        self.names = tuple(pair[0] for pair in encoders) if valid else ()
        valid = valid and len(set(self.names)) == len(encoders) and _JOINED not in self.names
        expected = f"`encoders` to be two pairs (name, factory) or more, of different names other than {_JOINED!r}"
        checks.require(valid, "CMC", expected, encoders=encoders)
        self.factories = tuple(pair[1] for pair in encoders)
        self.projector, self.joined = projector, joined
        if joined is not None:
            valid = not isinstance(joined, str) and set(joined) <= set(self.names) and len(set(joined)) == len(joined)
            expected = f"`joined` to be () or two or more of the towers {', '.join(self.names)}"
            checks.require(valid and len(joined) != 1, "CMC", expected, joined=joined)
        numbers = range(len(encoders))
        self.pairs = [(i, j) for i in numbers for j in numbers if i != j and (pairs == "full" or 0 in (i, j))]

    def spread(self, views: Sequence) -> Sequence:
        """Returns one view per tower, from one view per tower or a single view that all towers share."""
        return views if len(views) == len(self.names) else list(views) * len(self.names)

    def build(self, shapes: Sequence[tuple[int, ...]], suffix: str = "") -> list[networks.Embedder]:
        """Makes the towers.

        Args:
            shapes: `(H, W, C)` of one view per tower, or of a single view that all towers share.
            suffix: appended to the names of the layers.

        Raises:
            ValueError: the number of views is wrong, or a view does not consist of images.
        """
        count = len(self.names)
        expected = f"one view that all towers share, or one for each of {', '.join(self.names)}"
        checks.require(len(shapes) in (1, count), "CMC", expected, views=len(shapes))
        valid = all(len(shape) == 3 for shape in shapes)
        checks.require(valid, "CMC", "views to be of images (H, W, C)", view_shapes=tuple(shapes))
        if self.joined is None:
            self.joined = self.names if len(shapes) == 1 else ()
        self._joined: keras.Model | None = None  # made when it is first asked for; not a layer of the method
        parts = zip(self.names, self.factories, self.spread(shapes), strict=True)
        return [networks.Embedder(make, self.projector, shape, name + suffix) for name, make, shape in parts]

    def embed(self, embedders: Sequence[networks.Embedder], views: Sequence, training: bool = False) -> list:
        """Returns the unit vectors of every tower, a list of M arrays `[B, D]`."""
        pairs = zip(embedders, self.spread(views), strict=True)
        return [embedder(view, training=training) for embedder, view in pairs]

    def encoders(self, embedders: Sequence[networks.Embedder]) -> dict[str, keras.Model]:
        """Returns by name the encoder `joined`, if any towers are joined, and the encoder of every tower."""
        by_name = {name: embedder.encoder for name, embedder in zip(self.names, embedders, strict=True)}
        if not self.joined:
            return by_name
        if self._joined is None:
            self._joined = joining.join([by_name[name] for name in self.joined])
        return {_JOINED: self._joined, **by_name}


class Method(method.Method):
    """Base of CMC and CMC v2: towers, their encoders, and how they are watched.

    Args:
        encoders: pairs (name, factory of an encoder), one per tower.
        projector: factory of a head `[B, F] -> [B, D]`, called with F.
        temperature: divides the similarities; positive.
        pairs: "full" or "core", see `zoo.methods.cmc.CMC`.
        joined: names of towers whose features are concatenated, see `zoo.methods.cmc.CMC`.
        name: name of the model.
    """

    sides = 1  # how many views every tower sees

    def __init__(
        self,
        encoders: Sequence[tuple[str, Callable]],
        projector: Callable,
        temperature: float,
        pairs: str,
        joined: Sequence[str] | None,
        name: str | None,
    ):
        super().__init__(name)
        checks.positive(type(self).__name__, temperature=temperature)
        self.towers, self.temperature = Towers(encoders, projector, pairs, joined), temperature

    def watch(self, batch: method.Batch) -> dict[str, Any]:
        """Returns the alignment of the first two towers, and the uniformity and rank of the first."""
        views = batch.views[: len(batch.views) // self.sides]
        return geometry.measurements(*self.towers.embed(self.networks, views)[:2])

    def encoders(self) -> dict[str, keras.Model]:
        """Returns the encoder `joined`, if any towers are joined, and the encoder of every tower."""
        return self.towers.encoders(self.networks)
