"""What a view is, and how views are put together: in a row, by chance, one of several, forked, several at once."""

import dataclasses
import difflib
import functools

import numpy as np
from keras import backend, ops, tree

from zoo import context, engine, seeds


def require(holds, who, expected, **received):
    """Raises the `ValueError` that says who expected what and what came instead, unless `holds`."""
    if not holds:
        values = ", ".join(f"{name}={value!r}" for name, value in received.items())
        raise ValueError(f"{who}: expected {expected}. Received: {values}.")


def choice(who, name, value, known):
    """Raises the `ValueError` that lists the `known` names, unless `value` is one of them."""
    if value not in known:
        near = difflib.get_close_matches(str(value), known, n=1)
        expected = f"`{name}` to be one of {', '.join(map(repr, known))}"
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"{who}: expected {expected}. Received: {name}={value!r}.{hint}")


def one_by_one(whether=True):
    """Views that are traced within are made image by image, in a loop: for what XLA compiles for a CPU.

    One image stays in the processor's cache from step to step, where a batch goes to memory and back; and of an image
    by itself, what was not drawn is not computed. Elsewhere batches are faster.
    """
    return context.using(image_by_image=whether)


def image_by_image():
    """Whether views are made as within `one_by_one`."""
    return context.current().image_by_image


def single(images):
    """Whether these are one image of those that are made one by one, of which only what was drawn needs computing."""
    return image_by_image() and images.shape[0] == 1


def apart(tensors):
    """The same images or other tensors; within `one_by_one` finished before anything is made of them.

    XLA would otherwise fuse them into what uses them and compute them anew for every use.
    """
    return engine.current().barrier(tensors) if image_by_image() else tensors


def chosen(mask, ours, theirs):
    """Per example, `ours` where `mask` [B] is true, else `theirs`; both finite float32 `[B, ...]`."""
    mask = ops.reshape(ops.cast(mask, "float32"), (-1,) + (1,) * (len(ours.shape) - 1))
    # As exact as a selection, and several times faster on a CPU, where a mask that broadcasts is slow.
    return mask * ours + (1 - mask) * theirs


def changed(mask, change, images):
    """Per example, `change(images)` where `mask` [B] is true, else the image."""
    if single(images):
        return ops.cond(mask[0], lambda: change(images), lambda: images)
    return chosen(mask, change(images), images)


def _folds(seed, count):
    """The seeds `seed.fold(0)` to `seed.fold(count - 1)`, at the price of one."""
    spread = seeds.Seed(seed.value, tuple(ops.convert_to_tensor(word)[:, None] for word in seed.key))  # keys [B, 1]
    first, second = spread.fold(np.arange(count, dtype="int32")).key  # [B, count]
    return [seeds.Seed(seed.value, (first[:, i], second[:, i])) for i in range(count)]


def _checked(who, images, seed):
    """The images as float32 `[B, H, W, C]`, if they and the seed are what a view can take."""
    images = ops.convert_to_tensor(images)
    dtype = backend.standardize_dtype(images.dtype)
    require("float" in dtype, who, "floating images in [0, 1]", dtype=dtype)
    shape = tuple(images.shape)
    are = len(shape) == 4 and None not in shape[1:] and shape[-1] >= 1
    require(are, who, "images [B, H, W, C] of known size with channels", shape=shape)
    rank = len(np.shape(seed.key[0]))
    require(rank == 1, who, "one seed per image: `seed.fold(ids)` with ids of shape [B]", rank=rank)
    return ops.cast(images, "float32")


def _made(view, images, drawn):
    """What a view makes of images under a draw, settled first: all at once, or see `one_by_one`."""
    drawn = engine.current().barrier(drawn)
    if not image_by_image():
        return view.apply(images, drawn)

    def one(parts):
        image, *parts = (part[None] for part in parts)
        made = view.apply(image, tree.pack_sequence_as(drawn, parts))
        return tree.map_structure(lambda each: each[0], made)

    return ops.map(one, [images, *tree.flatten(drawn)])


class View:
    """Images to images, a pure function: all that is random is drawn from the seed, one draw per image.

    Drawing is apart from applying, so that a draw can be looked at, or moved to another image. A subclass is a frozen
    dataclass that defines `apply`, and `draw` and `output_shape` where it draws and where it changes the size.

    Attributes:
        final: whether nothing can follow, because the results are several, or no images `[B, H, W, C]` in [0, 1].
        several: whether `apply` returns a tuple of views and `output_shape` a tuple of shapes.
    """

    final = False
    several = False

    def draw(self, seed, shape):
        """What is random.

        Args:
            seed: a `zoo.seeds.Seed` of `[B]` keys. Row b of the draw depends on key b alone.
            shape: of the images, `(B, H, W, C)`.

        Returns:
            Dictionary of tensors `[B, ...]`; a composite's holds those of its parts.
        """
        del seed, shape
        return {}

    def apply(self, images, drawn):
        """The view `[B, H', W', C']` of float32 `images` [B, H, W, C] in [0, 1] that `drawn` describes."""
        raise NotImplementedError(f"{type(self).__name__}: expected `apply` to be defined.")

    def output_shape(self, shape):
        """The shape of the view of images of `shape`."""
        return shape

    def __call__(self, images, seed):
        """Draws and applies.

        Args:
            images: floats in [0, 1], `[B, H, W, C]`.
            seed: a `zoo.seeds.Seed` of `[B]` keys, one per image.

        Returns:
            Float32 in [0, 1], `[B, H', W', C']`; what a `final` view makes, see there.
        """
        images = _checked(type(self).__name__, images, seed)
        return _made(self, images, self.draw(seed, tuple(ops.shape(images))))


def _views(who, name, parts):
    """`parts` as a tuple, if it is a series of views."""
    parts = tuple(parts) if isinstance(parts, (list, tuple)) else parts
    are = isinstance(parts, tuple) and len(parts) > 0 and all(isinstance(part, View) for part in parts)
    require(are, who, f"`{name}` to be a tuple of views (values: in gin, with parentheses)", **{name: parts})
    return parts


def _single(who, name, parts):
    """`parts`, if they are views that make one view of an image."""
    parts = _views(who, name, parts)
    for part in parts:
        require(not part.several, who, f"`{name}` to make one view of an image, not several", **{name: part})
    return parts


def _each(view, results):
    """What a view makes, images or a shape, as a tuple of all that it makes."""
    return tuple(results) if view.several else (results,)


@dataclasses.dataclass(frozen=True)
class Chain(View):
    """Applies its steps one after the other; step j draws from `seed.fold(j)`.

    Args:
        steps: tuple of views. The last one may be `final`, the chain then is, too.
    """

    steps: tuple

    def __post_init__(self):
        object.__setattr__(self, "steps", _views("Chain", "steps", self.steps))
        for step in self.steps[:-1]:
            expected = "only its last step to make several views, or what is no image in [0, 1]"
            require(not step.final, "Chain", expected, step=step)

    @property
    def final(self):
        """Whether the last step is."""
        return self.steps[-1].final

    @property
    def several(self):
        """Whether the last step makes several views."""
        return self.steps[-1].several

    def draw(self, seed, shape):
        """`steps`: the draws of the steps."""
        drawn = []
        for step, its in zip(self.steps, _folds(seed, len(self.steps)), strict=True):
            drawn.append(step.draw(its, shape))
            shape = step.output_shape(shape)
        return {"steps": tuple(drawn)}

    def apply(self, images, drawn):
        """All steps, in their order."""
        for step, its in zip(self.steps, drawn["steps"], strict=True):
            images = step.apply(images, its)
        return images

    def output_shape(self, shape):
        """The shape after the last step, or its shapes."""
        for step in self.steps:
            shape = step.output_shape(shape)
        return shape


@dataclasses.dataclass(frozen=True)
class Fork(View):
    """Makes several views of what one image has become, one per branch; branch i draws from `seed.fold(i)`.

    The last step of a chain: `Chain((Crop(32), Flip(), Fork((Split("lab", (0,)), Split("lab", (1, 2))))))` is one crop,
    seen twice (CMC, Tian et al., 2019, https://arxiv.org/abs/1906.05849).

    Args:
        branches: tuple of views. A branch that makes several adds each of them.
    """

    branches: tuple

    final = True
    several = True

    def __post_init__(self):
        object.__setattr__(self, "branches", _views("Fork", "branches", self.branches))

    def draw(self, seed, shape):
        """`branches`: the draws of the branches."""
        parts = zip(self.branches, _folds(seed, len(self.branches)), strict=True)
        return {"branches": tuple(branch.draw(its, shape) for branch, its in parts)}

    def apply(self, images, drawn):
        """Tuple of the branches' views."""
        parts = zip(self.branches, drawn["branches"], strict=True)
        return tuple(one for branch, its in parts for one in _each(branch, branch.apply(images, its)))

    def output_shape(self, shape):
        """Tuple of their shapes."""
        return tuple(one for branch in self.branches for one in _each(branch, branch.output_shape(shape)))


@dataclasses.dataclass(frozen=True)
class Sometimes(View):
    """Applies `view` to each image with `probability`.

    Args:
        view: a view that keeps the size of the images and makes one of each.
        probability: in [0, 1].
    """

    view: View
    probability: float

    def __post_init__(self):
        _single("Sometimes", "view", (self.view,))
        require(0 <= self.probability <= 1, "Sometimes", "`probability` in [0, 1]", probability=self.probability)

    @property
    def final(self):
        """Whether the view is."""
        return self.view.final

    def draw(self, seed, shape):
        """`applied` [B], bool; `view`: the draw of the view, made for every image."""
        after = self.view.output_shape(shape)
        require(tuple(after[1:]) == tuple(shape[1:]), "Sometimes", "a view that keeps the size", view=self.view)
        return {"applied": seed.bernoulli(self.probability), "view": self.view.draw(seed.fold(0), shape)}

    def apply(self, images, drawn):
        """The view where it was drawn, else the image."""
        return changed(drawn["applied"], lambda images: self.view.apply(images, drawn["view"]), images)


@dataclasses.dataclass(frozen=True)
class OneOf(View):
    """Applies one of several views to each image; of a batch all are computed and one is kept, see `single`.

    Args:
        views: tuple of views whose results have the same size, one result each.
        probabilities: one per view, summing to 1; by default all are equally likely.
    """

    views: tuple
    probabilities: tuple = None

    def __post_init__(self):
        object.__setattr__(self, "views", _single("OneOf", "views", self.views))
        if self.probabilities is None:
            return
        object.__setattr__(self, "probabilities", tuple(self.probabilities))
        are = len(self.probabilities) == len(self.views) and min(self.probabilities) >= 0
        are = are and abs(sum(self.probabilities) - 1) < 1e-6
        expected = f"{len(self.views)} `probabilities` >= 0 that sum to 1"
        require(are, "OneOf", expected, probabilities=self.probabilities)

    @property
    def final(self):
        """Whether one of the views is."""
        return any(view.final for view in self.views)

    def draw(self, seed, shape):
        """`choice` [B], int32: the number of the view; `views`: the draws of all views."""
        self.output_shape(shape)
        count = len(self.views)
        bounds = np.cumsum(self.probabilities or [1 / count] * count)[:-1].astype("float32")
        above = seed.uniform()[:, None] >= bounds  # [B, count - 1]
        drawn = tuple(view.draw(its, shape) for view, its in zip(self.views, _folds(seed, count), strict=True))
        return {"choice": ops.sum(ops.cast(above, "int32"), axis=1), "views": drawn}

    def apply(self, images, drawn):
        """The drawn view of each image."""
        parts = zip(self.views, drawn["views"], strict=True)
        branches = [functools.partial(view.apply, images, its) for view, its in parts]
        if single(images):
            return ops.switch(drawn["choice"][0], branches)
        kept = branches[0]()
        for number, branch in enumerate(branches[1:], start=1):
            kept = chosen(ops.equal(drawn["choice"], number), branch(), kept)
        return kept

    def output_shape(self, shape):
        """The one shape of all results."""
        shapes = [tuple(view.output_shape(shape)) for view in self.views]
        require(len({after[1:] for after in shapes}) == 1, "OneOf", "views of one size", sizes=[s[1:] for s in shapes])
        return shapes[0]


@dataclasses.dataclass(frozen=True)
class Views:
    """Makes one view of every image per chain, several where a chain ends in a fork; chain i draws from `seed.fold(i)`.

    Args:
        chains: tuple of views. They may differ: in size (multi-crop), in strength, in what they keep. Chains that make
            (a1, a2) and (b1, b2) give the views (a1, a2, b1, b2).
    """

    chains: tuple

    def __post_init__(self):
        object.__setattr__(self, "chains", _views("Views", "chains", self.chains))

    def output_shapes(self, shape):
        """Shapes of the views of images of `shape`, (H, W, C)."""
        made = [one for chain in self.chains for one in _each(chain, chain.output_shape((1, *shape)))]
        return tuple(tuple(one[1:]) for one in made)

    def draw(self, seed, shape):
        """`chains`: the draws of the chains."""
        parts = zip(self.chains, _folds(seed, len(self.chains)), strict=True)
        return {"chains": tuple(chain.draw(its, shape) for chain, its in parts)}

    def apply(self, images, drawn):
        """Tuple of V views, `[B, H_v, W_v, C_v]` each."""
        parts = zip(self.chains, drawn["chains"], strict=True)
        return tuple(one for chain, its in parts for one in _each(chain, chain.apply(images, its)))

    def __call__(self, images, seed):
        """Draws and applies: floats in [0, 1] `[B, H, W, C]` to a tuple of V float32 `[B, H_v, W_v, C_v]`."""
        images = _checked("Views", images, seed)
        count, first = len(self.chains), self.chains[0]
        if any(chain != first for chain in self.chains):
            return _made(self, images, self.draw(seed, tuple(ops.shape(images))))
        # Equal chains run as one, on a batch of all views: fewer and larger operations, the same result.
        words = zip(*(its.key for its in _folds(seed, count)), strict=True)
        folded = seeds.Seed(seed.value, tuple(ops.concatenate(word, axis=0) for word in words))  # keys [count * B]
        together = _each(first, first(ops.concatenate([images] * count, axis=0), folded))  # [count * B, ...] each
        parts = zip(*(ops.split(one, count, axis=0) for one in together), strict=True)
        return tuple(one for views in parts for one in views)
