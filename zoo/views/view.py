"""Views and the ways to compose them: in a chain, by chance, as alternatives, in branches, or several at once."""

import dataclasses
import functools
from typing import Any

import numpy as np
from keras import ops

from zoo import checks, seeds
from zoo.views import execution, maps

Draw = dict[str, Any]


class View:
    """A pure function of images: everything random is drawn from the seed, one draw per image.

    Drawing and applying are separate, so that a draw can be inspected, or applied to another image. A subclass is a
    frozen dataclass that defines `apply`, and where needed `draw` and `output_shape`, for one array of images.

    Views are called with an array of images or with a dictionary of maps that share their geometry, such as
    `{"image": ..., "depth": ..., "normals": ...}`. A draw then applies to all of them: geometric views transform every
    map, the others change `"image"` only.

    Attributes:
        final: whether nothing can follow, because there are several results, or they are not images `[B, H, W, C]` in
            [0, 1].
        several: whether `apply` returns a tuple of views, and `output_shape` a tuple of shapes.
        geometric: whether pixels move, so that every map of a dictionary must be transformed.
        takes_maps: whether the three methods themselves take dictionaries of maps, as those of composite views do.
    """

    final = False
    several = False
    geometric = False
    takes_maps = False

    def draw(self, seed: seeds.Seed, shape: Any) -> Draw:
        """Draws everything that is random.

        Args:
            seed: `[B]` keys. Row b of the draw depends on key b alone.
            shape: shape of an image, `(H, W, C)`.

        Returns:
            Dictionary of tensors `[B, ...]`; that of a composite view holds the draws of its parts.
        """
        del seed, shape
        return {}

    def apply(self, images: Any, drawn: Draw) -> Any:
        """Makes the view that a draw describes.

        Args:
            images: float32 in [0, 1], `[B, H, W, C]`.
            drawn: what `draw` returned.

        Returns:
            Float32 in [0, 1], `[B, H', W', C']`.
        """
        raise NotImplementedError(f"{type(self).__name__}: expected `apply` to be defined.")

    def output_shape(self, shape: Any) -> Any:
        """Returns the shape of the view of an image of the given shape, `(H, W, C)` to `(H', W', C')`."""
        return shape

    def __call__(self, images: Any, seed: seeds.Seed) -> Any:
        """Draws and applies.

        Args:
            images: floats in [0, 1], `[B, H, W, C]`, or a dictionary of such maps with the same height and width.
            seed: `[B]` keys, one per image: `seed.fold(ids)`.

        Returns:
            Float32 in [0, 1], `[B, H', W', C']`; a dictionary of maps for a dictionary, an array after
            `modality.Modality`; a tuple of either if the view is `several`.
        """
        images = maps.checked(type(self).__name__, images, seed)
        drawn = maps.draw(self, seed, maps.shapes(images))
        return execution.run(functools.partial(maps.apply, self), images, drawn)


def _views(who, name, parts):
    """Returns `parts` as a tuple, if they are views."""
    parts = tuple(parts) if isinstance(parts, (list, tuple)) else parts
    is_valid = isinstance(parts, tuple) and len(parts) > 0 and all(isinstance(part, View) for part in parts)
    checks.require(is_valid, who, f"`{name}` to be a tuple of views, not of classes", **{name: parts})
    return parts


def _single_views(who, name, parts):
    """Returns `parts` as a tuple, if they are views that make a single view of an image."""
    parts = _views(who, name, parts)
    for part in parts:
        checks.require(not part.several, who, f"`{name}` to make one view of an image, not several", **{name: part})
    return parts


def _results(view, results):
    """Returns what a view makes, images or a shape, as a tuple."""
    return tuple(results) if view.several else (results,)


@dataclasses.dataclass(frozen=True)
class Chain(View):
    """Applies views one after the other; step j draws from `seed.fold(j)`.

    Args:
        steps: tuple of views. Only the last may be `final`; the chain then is as well.
    """

    steps: tuple

    takes_maps = True

    def __post_init__(self):
        object.__setattr__(self, "steps", _views("Chain", "steps", self.steps))
        for step in self.steps[:-1]:
            expected = "only its last step to make several views, or anything but images in [0, 1]"
            checks.require(not step.final, "Chain", expected, step=step)
        object.__setattr__(self, "final", self.steps[-1].final)
        object.__setattr__(self, "several", self.steps[-1].several)

    def draw(self, seed: seeds.Seed, shape: maps.Shapes) -> Draw:
        """Returns `steps`: the draws of the steps."""
        drawn = []
        for step, step_seed in zip(self.steps, execution.folds(seed, len(self.steps)), strict=True):
            drawn.append(maps.draw(step, step_seed, shape))
            shape = maps.output_shape(step, shape)
        return {"steps": tuple(drawn)}

    def apply(self, images: Any, drawn: Draw) -> Any:
        """Applies all steps in order."""
        for step, step_drawn in zip(self.steps, drawn["steps"], strict=True):
            images = maps.apply(step, images, step_drawn)
        return images

    def output_shape(self, shape: maps.Shapes) -> Any:
        """Returns the shape after the last step, or the shapes."""
        for step in self.steps:
            shape = maps.output_shape(step, shape)
        return shape


@dataclasses.dataclass(frozen=True)
class Fork(View):
    """Makes several views of the same image, one per branch; branch i draws from `seed.fold(i)`.

    It is the last step of a chain. `Chain((Crop(32), Flip(), Fork((Channels("lab", (0,)), Channels("lab", (1, 2))))))`
    makes two views of a single crop (CMC, Tian et al., 2019, https://arxiv.org/abs/1906.05849).

    Args:
        branches: tuple of views. A branch that makes several views adds all of them.
    """

    branches: tuple

    final = True
    several = True
    takes_maps = True

    def __post_init__(self):
        object.__setattr__(self, "branches", _views("Fork", "branches", self.branches))

    def draw(self, seed: seeds.Seed, shape: maps.Shapes) -> Draw:
        """Returns `branches`: the draws of the branches."""
        parts = zip(self.branches, execution.folds(seed, len(self.branches)), strict=True)
        return {"branches": tuple(maps.draw(branch, branch_seed, shape) for branch, branch_seed in parts)}

    def apply(self, images: Any, drawn: Draw) -> Any:
        """Returns a tuple of the branches' views."""
        parts = zip(self.branches, drawn["branches"], strict=True)
        return tuple(
            result
            for branch, branch_drawn in parts
            for result in _results(branch, maps.apply(branch, images, branch_drawn))
        )

    def output_shape(self, shape: maps.Shapes) -> Any:
        """Returns a tuple of the branches' output shapes."""
        return tuple(after for branch in self.branches for after in _results(branch, maps.output_shape(branch, shape)))


@dataclasses.dataclass(frozen=True)
class Sometimes(View):
    """Applies a view to each image with a given probability.

    Args:
        view: makes a single view of an image, of the image's shape.
        probability: in [0, 1].
    """

    view: View
    probability: float

    takes_maps = True

    def __post_init__(self):
        _single_views("Sometimes", "view", (self.view,))
        checks.fractions("Sometimes", probability=self.probability)
        object.__setattr__(self, "final", self.view.final)

    def draw(self, seed: seeds.Seed, shape: maps.Shapes) -> Draw:
        """Returns `applied` [B], bool, and `view`: the draw of the view, made for every image."""
        self.output_shape(shape)
        drawn = maps.draw(self.view, seed.fold(0), shape)
        return {"applied": seed.bernoulli(self.probability), "view": drawn}

    def apply(self, images: Any, drawn: Draw) -> Any:
        """Applies the view to the images for which it was drawn."""
        return execution.changed(drawn["applied"], lambda images: maps.apply(self.view, images, drawn["view"]), images)

    def output_shape(self, shape: maps.Shapes) -> Any:
        """Returns the same shape."""
        checks.require(
            maps.output_shape(self.view, shape) == shape, "Sometimes", "a view that keeps the size", view=self.view
        )
        return shape


@dataclasses.dataclass(frozen=True)
class OneOf(View):
    """Applies one of several views to each image. In a batch all of them are computed, and one result is kept.

    Args:
        views: tuple of views that make a single view of an image, all of the same shape.
        probabilities: probabilities of the views, summing to 1; equal by default.
    """

    views: tuple
    probabilities: tuple | None = None

    takes_maps = True

    def __post_init__(self):
        object.__setattr__(self, "views", _single_views("OneOf", "views", self.views))
        object.__setattr__(self, "final", any(view.final for view in self.views))
        if self.probabilities is None:
            return
        object.__setattr__(self, "probabilities", tuple(self.probabilities))
        is_valid = len(self.probabilities) == len(self.views) and min(self.probabilities) >= 0
        is_valid = is_valid and abs(sum(self.probabilities) - 1) < 1e-6
        expected = f"{len(self.views)} `probabilities` >= 0 that sum to 1"
        checks.require(is_valid, "OneOf", expected, probabilities=self.probabilities)

    def draw(self, seed: seeds.Seed, shape: maps.Shapes) -> Draw:
        """Returns `choice` [B], int32, the number of the view, and `views`: the draws of all views."""
        self.output_shape(shape)
        count = len(self.views)
        bounds = np.cumsum(self.probabilities or [1 / count] * count)[:-1].astype("float32")
        above = seed.uniform()[:, None] >= bounds  # [B, count - 1]
        parts = zip(self.views, execution.folds(seed, count), strict=True)
        drawn = tuple(maps.draw(view, view_seed, shape) for view, view_seed in parts)
        return {"choice": ops.sum(ops.cast(above, "int32"), axis=1), "views": drawn}

    def apply(self, images: Any, drawn: Draw) -> Any:
        """Returns the drawn view of each image."""
        parts = zip(self.views, drawn["views"], strict=True)
        branches = [functools.partial(maps.apply, view, images, view_drawn) for view, view_drawn in parts]
        if execution.is_single(images):
            return ops.switch(drawn["choice"][0], branches)
        kept = branches[0]()
        for number, branch in enumerate(branches[1:], start=1):
            kept = execution.selected(ops.equal(drawn["choice"], number), branch(), kept)
        return kept

    def output_shape(self, shape: maps.Shapes) -> Any:
        """Returns the shape that all results have."""
        shapes = [maps.output_shape(view, shape) for view in self.views]
        is_same = all(after == shapes[0] for after in shapes)
        checks.require(is_same, "OneOf", "views of one size", sizes=shapes)
        return shapes[0]


@dataclasses.dataclass(frozen=True)
class Views:
    """Makes all views of every image, one per chain, or several where a chain ends in a fork.

    Chain i draws from `seed.fold(i)`. Equal chains run as one batch: fewer and larger operations, the same result.

    Args:
        chains: tuple of views. They may differ in size (multi-crop), in strength, or in what they keep. Chains that
            make (a1, a2) and (b1, b2) give the views (a1, a2, b1, b2). Every view is an array: a chain that leaves
            several maps makes the view `"image"`; others are chosen by `modality.Modality`.
    """

    chains: tuple

    def __post_init__(self):
        object.__setattr__(self, "chains", _views("Views", "chains", self.chains))

    def draw(self, seed: seeds.Seed, shape: maps.Shapes) -> Draw:
        """Returns `chains`: the draws of the chains, for images of shape `(H, W, C)` or a dictionary of shapes."""
        parts = zip(self.chains, execution.folds(seed, len(self.chains)), strict=True)
        return {"chains": tuple(maps.draw(chain, chain_seed, shape) for chain, chain_seed in parts)}

    def apply(self, images: Any, drawn: Draw) -> tuple:
        """Returns a tuple of V views, `[B, H_v, W_v, C_v]` each, made chain by chain."""
        parts = zip(self.chains, drawn["chains"], strict=True)
        return tuple(
            view for chain, chain_drawn in parts for view in _arrays(chain, maps.apply(chain, images, chain_drawn))
        )

    def output_shapes(self, shape: maps.Shapes) -> tuple[maps.Shape, ...]:
        """Computes the shapes of the views without making any.

        Args:
            shape: shape of an image, `(H, W, C)`, or a dictionary with that of every map.

        Returns:
            Tuple of V shapes, `(H_v, W_v, C_v)`, or `(P, H_v, W_v, C_v)` for patches.
        """
        shape = {key: tuple(shape[key]) for key in shape} if isinstance(shape, dict) else tuple(shape)
        return tuple(view for chain in self.chains for view in _arrays(chain, maps.output_shape(chain, shape)))

    def __call__(self, images: Any, seed: seeds.Seed) -> tuple:
        """Draws and applies.

        Args:
            images: floats in [0, 1], `[B, H, W, C]`, or a dictionary of such maps with the same height and width.
            seed: `[B]` keys, one per image: `seed.fold(ids)`.

        Returns:
            Tuple of V views, float32 `[B, H_v, W_v, C_v]`, or `[B, P, H_v, W_v, C_v]` for patches.
        """
        images = maps.checked("Views", images, seed)
        chain_seeds = execution.folds(seed, len(self.chains))
        views: dict[int, tuple] = {}
        for numbers in execution.groups(self.chains):
            chain, count = self.chains[numbers[0]], len(numbers)
            drawn = maps.draw(chain, execution.joined([chain_seeds[number] for number in numbers]), maps.shapes(images))
            made = execution.run(
                lambda images, drawn, chain=chain: _arrays(chain, maps.apply(chain, images, drawn)),
                execution.repeated(images, count),
                drawn,
            )  # [count * B, ...] each
            parts = zip(*(ops.split(view, count, axis=0) if count > 1 else [view] for view in made), strict=True)
            views.update(zip(numbers, parts, strict=True))
        return tuple(view for number in range(len(self.chains)) for view in views[number])


def _arrays(chain, results):
    """Returns the views that a chain makes, or their shapes, as a tuple; `"image"` in place of several maps."""
    parts = _results(chain, results)
    return tuple(maps.image("Views", part) if isinstance(part, dict) else part for part in parts)
