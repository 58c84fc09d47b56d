"""Contrast across views with a memory: InsDis, MoCo, PIRL, CMC, InfoMin and what lies between them.

PyContrast (https://github.com/HobbitLong/PyContrast) found that these papers differ by six switches, each free:

|         | towers         | jigsaw | dictionary | augmentation | head   | temperature |
|---------|----------------|--------|------------|--------------|--------|-------------|
| InsDis  | RGB            | no     | Instances  | A            | linear | 0.07        |
| PIRL    | RGB            | yes    | Instances  | A            | linear | 0.07        |
| MoCo    | RGB            | no     | Momentum   | A            | linear | 0.07        |
| MoCo v2 | RGB            | no     | Momentum   | B            | MLP    | 0.2         |
| InfoMin | RGB            | yes    | Momentum   | D            | MLP    | 0.15        |
| CMC     | luma, chroma   | no     | Instances  | C            | linear | 0.07        |
| CMC v2  | luma, chroma   | no     | Momentum   | E            | MLP    | 0.2         |

Each is a gin file in `gin/methods`. CMC: Tian et al., 2019, https://arxiv.org/abs/1906.05849; InfoMin: Tian et al.,
2020, https://arxiv.org/abs/2005.10243; PIRL: Misra & van der Maaten, 2019, https://arxiv.org/abs/1912.01991
"""

import keras
from keras import ops

from zoo import context
from zoo.methods import comparisons, dictionaries, method
from zoo.models import heads, joined

_PAIRS = ("full", "core")
_JOINED = "joined"


class Tower(keras.layers.Layer):
    """An encoder with its projector, to unit vectors, `[B, H, W, C] -> [B, D]`.

    Args:
        encoder: factory of a network `[B, H, W, C] -> [B, F]`.
        projector: factory of a head, called with F: a network `[B, F] -> [B, D]`.
        name: of the layer.
    """

    def __init__(self, encoder, projector, name="tower"):
        super().__init__(name=name, autocast=False)
        self.encoder = encoder()
        self.projector = projector(self.encoder.output_shape[-1])
        self.width = self.projector.output_shape[-1]
        self.built = True

    def call(self, images, training=False):
        """Unit vectors, float32 `[B, D]`."""
        return unit(self.projector(self.encoder(images, training=training), training=training))


def unit(embeddings):
    """Embeddings `[B, D]` as unit vectors, float32."""
    return ops.normalize(ops.cast(embeddings, "float32"), axis=-1)


def _named(encoder):
    """Pairs of name and factory."""
    if callable(encoder):
        return (("image", encoder),)
    pairs = tuple(encoder) if isinstance(encoder, (list, tuple)) else ()
    are = all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs)
    names = [pair[0] for pair in pairs] if are else []
    if not names or len(set(names)) < len(names) or _JOINED in names:
        raise ValueError(
            f"Multiview: expected `encoder` to be a factory, or pairs (name, factory) of different names other than "
            f"{_JOINED!r}. Received: encoder={encoder!r}."
        )
    return pairs


class Multiview(method.Method):
    """One tower per kind of view; each finds the other views of its image among remembered candidates.

    The views of a run come in sides, in this order: the queries; the keys, if the dictionary encodes them; the patches,
    if there is a jigsaw branch. A side is one view that all towers share, each of which converts colours and picks
    channels inside (see `zoo.models.encoder`), or one view per tower.

    Args:
        encoder: factory of a network `[B, H, W, C] -> [B, F]`; or pairs (name, factory), one per tower, in order. Not a
            dictionary: gin forgets the order of its entries.
        projector: factory of a head, called with F: a network `[B, F] -> [B, D]`.
        dictionary: factory of what gives the candidates, see `zoo.methods.dictionaries`.
        comparison: factory of what compares them, see `zoo.methods.comparisons`.
        temperature: positive float.
        shared: whether all towers see the same view of a side; False: a view each.
        joined: names of the towers that take one image, whose features stand side by side in the encoder `joined`; by
            default all where `shared`, none otherwise.
        pairs: which towers are contrasted, both ways (CMC, Section 3.4): `"full"` all, `"core"` the first with every
            other one. A single tower is contrasted with itself. Losses are summed over the pairs.
        jigsaw: factory of the head of patches, called with F and D, such as `heads.jigsaw`, or None.
        jigsaw_weight: share of the jigsaw branch in the loss, in [0, 1].
        name: of the model.

    Differs from PyContrast: with several towers, patches too are compared with candidates of the other tower; there,
    with those of their own. None of its methods has both.
    """

    def __init__(
        self,
        encoder,
        projector=heads.projector,
        dictionary=dictionaries.Momentum,
        comparison=comparisons.Softmax,
        temperature=0.07,
        shared=True,
        joined=None,
        pairs="full",
        jigsaw=None,
        jigsaw_weight=0.5,
        name=None,
    ):
        super().__init__(name)
        if not temperature > 0:
            raise ValueError(f"Multiview: expected `temperature` > 0. Received: temperature={temperature}.")
        if pairs not in _PAIRS:
            raise ValueError(f"Multiview: expected `pairs` to be one of {_PAIRS}. Received: pairs={pairs!r}.")
        if not 0 <= jigsaw_weight <= 1:
            raise ValueError(f"Multiview: expected `jigsaw_weight` in [0, 1]. Received: jigsaw_weight={jigsaw_weight}.")
        encoders = _named(encoder)
        self.names = tuple(each for each, _ in encoders)
        self.shared = shared

        def towers():
            return [Tower(make, projector, name=each) for each, make in encoders]

        self.towers = towers()
        self.encoder = self.towers[0].encoder
        self.joined = (self.names if shared else ()) if joined is None else joined
        self._check_joined()
        self.dictionary = dictionary(self.towers, towers)
        self.temperature = temperature
        count = len(self.towers)
        self.pairs = [(i, j) for i in range(count) for j in range(count) if i != j and (pairs == "full" or 0 in (i, j))]
        self.pairs = self.pairs or [(0, 0)]
        self.jigsaw_weight = jigsaw_weight
        self.jigsaw_heads = []
        if jigsaw is not None:
            self.jigsaw_heads = [jigsaw(tower.encoder.output_shape[-1], tower.width) for tower in self.towers]
        branches = len(self.pairs) * (2 if self.jigsaw_heads else 1)
        self.comparisons = [
            comparison(population=self.dictionary.population, name=f"comparison{i}") for i in range(branches)
        ]

    def _check_joined(self):
        """Refuses towers that are not there, and those that cannot take one image."""
        names = self.joined
        are = isinstance(names, (list, tuple)) and all(name in self.names for name in names)
        if not are or len(set(names)) < len(names) or (len(names) == 1 < len(self.names)):
            raise ValueError(
                f"Multiview: expected `joined` to be two or more of the towers {', '.join(self.names)}, or () for "
                f"none. Received: joined={names!r}."
            )
        shapes = {name: tower.encoder.input_shape[1:] for name, tower in self._by_name().items() if name in names}
        if len(set(shapes.values())) > 1:
            raise ValueError(
                "Multiview: expected towers that take one image to be of one shape; bind "
                f"`multiview.Multiview.joined`. Received: joined={shapes}."
            )

    def _by_name(self):
        return dict(zip(self.names, self.towers, strict=True))

    @property
    def _sides(self):
        return 1 + self.dictionary.views_of_keys + bool(self.jigsaw_heads)

    def _side(self, views, number):
        """The views of one side, one per tower."""
        count = len(self.towers)
        return views[number : number + 1] * count if self.shared else views[number * count : (number + 1) * count]

    def embed(self, images, training=False):
        """Unit vectors of the first tower, `[B, H, W, C] -> [B, D]`."""
        return self.towers[0](images, training=training)

    def embed_views(self, views):
        """Embeddings that ought to agree: of the first pair of towers, or of query and key."""
        i, j = self.pairs[0]
        queries = self._side(views, 0)
        if i != j:
            return self.towers[i](queries[i]), self.towers[j](queries[j])
        if not self.dictionary.views_of_keys:
            return (self.towers[0](queries[0]),)
        return self.towers[0](queries[0]), self.towers[0](self._side(views, 1)[0])

    def check(self, shapes, ids, batch_size, replica_count=1):
        """Refuses views, data and batches that do not fit; see `method.Method.check`."""
        count = len(self.towers)
        names = ["queries"] + ["keys"] * self.dictionary.views_of_keys + ["patches"] * bool(self.jigsaw_heads)
        wanted = len(names) * (1 if self.shared else count)
        if len(shapes) != wanted:
            how = "one each" if count == 1 else "one each that all towers share" if self.shared else f"{count} each"
            raise ValueError(
                f"Multiview: expected {wanted} view(s), {how}: {', '.join(names)}, in this order; bind "
                f"`view.Views.chains`, or `multiview.Multiview.shared`. Received: {len(shapes)} views."
            )
        for number, side in enumerate(names):
            for i, shape in enumerate(self._side(shapes, number)):
                if side == "patches":
                    self._check_patches(i, shape)
                else:
                    self.check_shape(self.towers[i].encoder, shape)
        self.dictionary.check(ids, batch_size, replica_count)

    def _check_patches(self, number, shape):
        channels = self.towers[number].encoder.input_shape[-1]
        pieces = self.jigsaw_heads[number].input_shape[1]
        if len(shape) != 4 or (shape[0], shape[-1]) != (pieces, channels):
            raise ValueError(
                f"Multiview: expected {pieces} patches [{pieces}, height, width, {channels}] as the last view; end its "
                f"chain in `jigsaw.Jigsaw()`, or bind `heads.jigsaw.patches`. Received: shape={tuple(shape)}."
            )

    def contrast(self, views, examples, replicas):
        """The sum over pairs of towers, queries and patches alike against the candidates of the other tower."""
        ids = examples["id"]
        keys = self._side(views, 1) if self.dictionary.views_of_keys else None
        with context.using(bn_groups=self.dictionary.splits):
            queries = [
                tower(view, training=True) for tower, view in zip(self.towers, self._side(views, 0), strict=True)
            ]
        candidates, recalled = self.dictionary.recall(keys, ids, replicas)
        loss, logs, compared = self._compared(queries, candidates, self.comparisons[: len(self.pairs)], replicas)  # [B]
        if self.jigsaw_heads:
            patches = self._side(views, self._sides - 1)
            with context.using(bn_groups=self.dictionary.splits):
                pieces = [self._embed_patches(i, view) for i, view in enumerate(patches)]  # [B, D] each
            puzzle, of_jigsaw, more = self._compared(pieces, candidates, self.comparisons[len(self.pairs) :], replicas)
            loss = (1 - self.jigsaw_weight) * loss + self.jigsaw_weight * puzzle
            logs = {**logs, **{f"jigsaw_{name}": value for name, value in of_jigsaw.items()}}
            compared = [*compared, *more]
        return loss, logs, (recalled, queries, ids, compared)

    def _compared(self, queries, candidates, compared_by, replicas):
        """The sum over the pairs of the losses `[B]`, the means of their logs, and what each is to remember."""
        losses, logs, seen = [], [], []
        for (i, j), comparison in zip(self.pairs, compared_by, strict=True):
            loss, its, found = comparison.compare(queries[i], candidates[j], self.temperature, replicas)
            losses.append(loss)
            logs.append(its)
            seen.append(found)
        return sum(losses), {name: sum(its[name] for its in logs) / len(logs) for name in logs[0]}, seen

    def _embed_patches(self, number, patches):
        """Unit vectors of the images that were cut into patches, `[B, P, h, w, C] -> [B, D]`."""
        count, shape = patches.shape[1], patches.shape[2:]
        encoder = self.towers[number].encoder
        # `call`, for the patches are smaller than the images that the functional model was made for. They pass apart
        # from these, and so have batch statistics of their own.
        features = encoder.call(ops.reshape(patches, (-1, *shape)), training=True)  # [B * P, F]
        features = ops.reshape(features, (-1, count, features.shape[-1]))
        return unit(self.jigsaw_heads[number](features, training=True))

    def begin(self):
        """Key encoders begin as copies."""
        self.dictionary.begin()

    def remember(self, seen, replicas):
        """The memory takes what the step has seen."""
        recalled, queries, ids, compared = seen
        self.dictionary.remember(recalled, queries, ids, replicas)
        for comparison, its in zip(self.comparisons, compared, strict=True):
            comparison.remember(its)

    def feature_extractors(self):
        """Networks by name: `joined`, of the towers that take one image, where there are several; and each tower's."""
        each = {name: tower.encoder for name, tower in self._by_name().items()}
        return {_JOINED: joined.join([each[name] for name in self.joined]), **each} if len(self.joined) > 1 else each
