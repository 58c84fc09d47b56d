"""What a view is, and how views are composed: in a row, by chance, one of several, forked, several at once."""

import dataclasses
import functools
from typing import Any

import numpy as np
from keras import ops

from zoo import checks, seeds
from zoo.views import execution


class View:
    """Images to images, a pure function: everything random is drawn from the seed, one draw per image.

    Drawing is separate from applying, so that a draw can be looked at, or applied to other maps of the same image. A
    subclass is a frozen dataclass that defines `apply`, and `draw` and `output_shape` where it draws and where it
    changes the size.

    A view takes an array, or a dictionary of maps that share their geometry, such as image, depth and normals: a
    geometric view changes all of them alike, any other view changes the map "image" only.

    Attributes:
        final: whether nothing can follow, because the results are several, or no images `[B, H, W, C]` in [0, 1].
        several: whether `apply` returns a tuple of views and `output_shape` a tuple of shapes.
        geometric: whether the view moves pixels.
        structural: whether `draw`, `apply` and `output_shape` take a dictionary of maps themselves.
    """

    final = False
    several = False
    geometric = False
    structural = False

    def draw(self, seed: seeds.Seed, shape: Any) -> dict[str, Any]:
        """Draws what is random.

        Args:
            seed: a seed of `[B]` keys. Row b of the draw depends on key b alone.
            shape: of the images, `(B, H, W, C)`.

        Returns:
            Dictionary of tensors `[B, ...]`; a composite's holds the draws of its parts.
        """
        del seed, shape
        return {}

    def apply(self, images: Any, drawn: dict[str, Any]) -> Any:
        """Returns the view `[B, H', W', C']` of float32 images `[B, H, W, C]` in [0, 1] that a draw describes."""
        raise NotImplementedError(f"{type(self).__name__}: expected `apply` to be defined.")

    def output_shape(self, shape: Any) -> Any:
        """Returns the shape of the view of images of `shape`."""
        return shape

    def __call__(self, images: Any, seed: seeds.Seed) -> Any:
        """Draws and applies.

        Args:
            images: floats in [0, 1], `[B, H, W, C]`, or a dictionary of such maps.
            seed: a seed of `[B]` keys, one per image.

        Returns:
            Float32 in [0, 1], `[B, H', W', C']`, or a dictionary of maps; a `final` view returns what it documents.
        """
        images = execution.checked(type(self).__name__, images, seed)
        drawn = draw(self, seed, _shapes(images))
        return execution.run(functools.partial(apply, self), images, drawn)


def _shapes(images: Any) -> Any:
    if isinstance(images, dict):
        return {name: tuple(ops.shape(values)) for name, values in images.items()}
    return tuple(ops.shape(images))


def draw(view: View, seed: seeds.Seed, shape: Any) -> dict[str, Any]:
    """Returns the draw of a view for images, or a dictionary of maps, of `shape`."""
    if isinstance(shape, dict) and not view.structural:
        shape = _main(view, shape)
    return view.draw(seed, shape)


def apply(view: View, images: Any, drawn: dict[str, Any]) -> Any:
    """Returns what a view makes of images, or of a dictionary of maps."""
    if not isinstance(images, dict) or view.structural:
        return view.apply(images, drawn)
    _main(view, images)
    if view.geometric:
        return {name: view.apply(values, drawn) for name, values in images.items()}
    return {**images, "image": view.apply(images["image"], drawn)}


def output_shape(view: View, shape: Any) -> Any:
    """Returns the shape of what a view makes of images, or the shapes of its maps."""
    if not isinstance(shape, dict) or view.structural:
        return view.output_shape(shape)
    _main(view, shape)
    if view.geometric:
        return {name: view.output_shape(size) for name, size in shape.items()}
    return {**shape, "image": view.output_shape(shape["image"])}


def _main(view: View, maps: dict[str, Any]) -> Any:
    """Returns the entry of the image, if a view that is not structural can take a dictionary of maps."""
    who = type(view).__name__
    checks.require("image" in maps, who, "an image among the maps", maps=sorted(maps))
    checks.require(not view.final, who, "one map, chosen by `modality.Modality` before this view", maps=sorted(maps))
    return maps["image"]


def _views(who: str, name: str, parts: Any) -> tuple[View, ...]:
    """Returns `parts` as a tuple, if it is a sequence of views."""
    parts = tuple(parts) if isinstance(parts, (list, tuple)) else parts
    valid = isinstance(parts, tuple) and len(parts) > 0 and all(isinstance(part, View) for part in parts)
    checks.require(valid, who, f"`{name}` to be a tuple of views (values: in gin, with parentheses)", **{name: parts})
    return parts


def _single(who: str, name: str, parts: Any) -> tuple[View, ...]:
    """Returns `parts`, if they are views that make one view of an image."""
    parts = _views(who, name, parts)
    for part in parts:
        checks.require(not part.several, who, f"`{name}` to make one view of an image, not several", **{name: part})
    return parts


def _results(view: View, results: Any) -> tuple:
    """Returns what a view makes, images or a shape, as a tuple of all that it makes."""
    return tuple(results) if view.several else (results,)


@dataclasses.dataclass(frozen=True)
class Chain(View):
    """Applies its steps one after the other; step j draws from `seed.fold(j)`.

    Args:
        steps: tuple of views. The last one may be `final`, and the chain is, then.
    """

    steps: tuple

    structural = True

    def __post_init__(self):
        object.__setattr__(self, "steps", _views("Chain", "steps", self.steps))
        for step in self.steps[:-1]:
            expected = "only its last step to make several views, or what is no image in [0, 1]"
            checks.require(not step.final, "Chain", expected, step=step)

    @property
    def final(self):
        """Whether the last step is."""
        return self.steps[-1].final

    @property
    def several(self):
        """Whether the last step makes several views."""
        return self.steps[-1].several

    def draw(self, seed, shape):
        """Draws `steps`, the draws of the steps."""
        drawn = []
        for step, own in zip(self.steps, execution.fold_each(seed, len(self.steps)), strict=True):
            drawn.append(draw(step, own, shape))
            shape = output_shape(step, shape)
        return {"steps": tuple(drawn)}

    def apply(self, images, drawn):
        """Applies all steps, in their order."""
        for step, own in zip(self.steps, drawn["steps"], strict=True):
            images = apply(step, images, own)
        return images

    def output_shape(self, shape):
        """Returns the shape after the last step, or its shapes."""
        for step in self.steps:
            shape = output_shape(step, shape)
        return shape


@dataclasses.dataclass(frozen=True)
class Fork(View):
    """Makes several views of what an image has become, one per branch; branch i draws from `seed.fold(i)`.

    The last step of a chain: `Chain((Crop(32), Flip(), Fork((Split("lab", (0,)), Split("lab", (1, 2))))))` is one crop,
    seen twice (CMC, Tian et al., 2019, https://arxiv.org/abs/1906.05849).

    Args:
        branches: tuple of views. A branch that makes several adds each of them.
    """

    branches: tuple

    final = True
    several = True
    structural = True

    def __post_init__(self):
        object.__setattr__(self, "branches", _views("Fork", "branches", self.branches))

    def draw(self, seed, shape):
        """Draws `branches`, the draws of the branches."""
        parts = zip(self.branches, execution.fold_each(seed, len(self.branches)), strict=True)
        return {"branches": tuple(draw(branch, own, shape) for branch, own in parts)}

    def apply(self, images, drawn):
        """Returns a tuple of the branches' views."""
        parts = zip(self.branches, drawn["branches"], strict=True)
        return tuple(made for branch, own in parts for made in _results(branch, apply(branch, images, own)))

    def output_shape(self, shape):
        """Returns a tuple of their shapes."""
        return tuple(made for branch in self.branches for made in _results(branch, output_shape(branch, shape)))


@dataclasses.dataclass(frozen=True)
class Sometimes(View):
    """Applies `view` to each image with `probability`.

    Args:
        view: a view that keeps the size of the images and makes one view of each.
        probability: in [0, 1].
    """

    view: View
    probability: float

    structural = True

    def __post_init__(self):
        _single("Sometimes", "view", (self.view,))
        checks.fractions("Sometimes", probability=self.probability)

    @property
    def final(self):
        """Whether the view is."""
        return self.view.final

    def draw(self, seed, shape):
        """Draws `applied` [B], bool, and `view`, the draw of the view for every image."""
        after = output_shape(self.view, shape)
        checks.require(after == shape, "Sometimes", "a view that keeps the size", view=self.view)
        return {"applied": seed.bernoulli(self.probability), "view": draw(self.view, seed.fold(0), shape)}

    def apply(self, images, drawn):
        """Returns the view where it was drawn, else the image."""
        return execution.where(drawn["applied"], lambda images: apply(self.view, images, drawn["view"]), images)


@dataclasses.dataclass(frozen=True)
class OneOf(View):
    """Applies one of several views to each image; for a batch all are computed and one is kept.

    Args:
        views: tuple of views whose results have the same size, one result each.
        probabilities: one per view, summing to 1; by default all are equally likely.
    """

    views: tuple
    probabilities: tuple | None = None

    structural = True

    def __post_init__(self):
        object.__setattr__(self, "views", _single("OneOf", "views", self.views))
        if self.probabilities is None:
            return
        object.__setattr__(self, "probabilities", tuple(self.probabilities))
        valid = len(self.probabilities) == len(self.views) and min(self.probabilities) >= 0
        valid = valid and abs(sum(self.probabilities) - 1) < 1e-6
        expected = f"{len(self.views)} `probabilities` >= 0 that sum to 1"
        checks.require(valid, "OneOf", expected, probabilities=self.probabilities)

    @property
    def final(self):
        """Whether one of the views is."""
        return any(view.final for view in self.views)

    def draw(self, seed, shape):
        """Draws `choice` [B], int32, the number of the view, and `views`, the draws of all views."""
        self.output_shape(shape)
        count = len(self.views)
        bounds = np.cumsum(self.probabilities or [1 / count] * count)[:-1].astype("float32")
        above = seed.uniform()[:, None] >= bounds  # [B, count - 1]
        parts = zip(self.views, execution.fold_each(seed, count), strict=True)
        drawn = tuple(draw(view, own, shape) for view, own in parts)
        return {"choice": ops.sum(ops.cast(above, "int32"), axis=1), "views": drawn}

    def apply(self, images, drawn):
        """Returns the drawn view of each image."""
        parts = zip(self.views, drawn["views"], strict=True)
        branches = [functools.partial(apply, view, images, own) for view, own in parts]
        if execution.is_single(images):
            return ops.switch(drawn["choice"][0], branches)
        kept = branches[0]()
        for number, branch in enumerate(branches[1:], start=1):
            kept = execution.select(ops.equal(drawn["choice"], number), branch(), kept)
        return kept

    def output_shape(self, shape):
        """Returns the shape that all results have."""
        shapes = [output_shape(view, shape) for view in self.views]
        equal = all(after == shapes[0] for after in shapes)
        checks.require(equal, "OneOf", "views of one size", sizes=shapes)
        return shapes[0]


@dataclasses.dataclass(frozen=True)
class Views:
    """Makes one view of every image per chain, several where a chain ends in a fork; chain i draws from `seed.fold(i)`.

    Args:
        chains: tuple of views. They may differ: in size (multi-crop), in strength, in what they keep. Chains that make
            (a1, a2) and (b1, b2) give the views (a1, a2, b1, b2). Equal chains run as one batch.
    """

    chains: tuple

    def __post_init__(self):
        object.__setattr__(self, "chains", _views("Views", "chains", self.chains))

    def output_shapes(self, shape: Any) -> tuple[tuple[int, ...], ...]:
        """Returns the shapes of the V views, without running anything.

        Args:
            shape: `(H, W, C)` of the images, or a dictionary of such shapes of maps.

        Returns:
            `(H_v, W_v, C_v)` of each view; `(P, h, w, C)` for patches.
        """
        whole = {name: (1, *size) for name, size in shape.items()} if isinstance(shape, dict) else (1, *shape)
        made = [part for chain in self.chains for part in _results(chain, output_shape(chain, whole))]
        return tuple(tuple(_image(part)[1:]) for part in made)

    def draw(self, seed: seeds.Seed, shape: Any) -> dict[str, Any]:
        """Draws `chains`, the draws of the chains."""
        parts = zip(self.chains, execution.fold_each(seed, len(self.chains)), strict=True)
        return {"chains": tuple(draw(chain, own, shape) for chain, own in parts)}

    def apply(self, images: Any, drawn: dict[str, Any]) -> tuple:
        """Returns a tuple of V views, `[B, H_v, W_v, C_v]` each."""
        parts = zip(self.chains, drawn["chains"], strict=True)
        return tuple(_image(made) for chain, own in parts for made in _results(chain, apply(chain, images, own)))

    def __call__(self, images: Any, seed: seeds.Seed) -> tuple:
        """Draws and applies.

        Args:
            images: floats in [0, 1], `[B, H, W, C]`, or a dictionary of such maps.
            seed: a seed of `[B]` keys, one per image.

        Returns:
            Tuple of V views, float32 `[B, H_v, W_v, C_v]`; of a chain that ends in maps, the image.
        """
        images = execution.checked("Views", images, seed)
        own = execution.fold_each(seed, len(self.chains))
        made: dict[int, Any] = {}
        for chain in dict.fromkeys(self.chains):
            numbers = [number for number, other in enumerate(self.chains) if other == chain]
            results = execution.together(chain, images, [own[number] for number in numbers])
            made |= dict(zip(numbers, results, strict=True))
        parts = [part for number, chain in enumerate(self.chains) for part in _results(chain, made[number])]
        return tuple(_image(part) for part in parts)


def _image(view: Any) -> Any:
    """Returns a view, or the image of a view that is a dictionary of maps."""
    if isinstance(view, dict):
        checks.require("image" in view, "Views", "an image among the maps of a view", maps=sorted(view))
        return view["image"]
    return view
