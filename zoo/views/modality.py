"""Modalities as views: CMC (Tian et al., 2019, https://arxiv.org/abs/1906.05849) learns from image, depth, normals."""

import dataclasses

from zoo.views import view


@dataclasses.dataclass(frozen=True)
class Modality(view.View):
    """Picks one modality out of images whose channels are those of all modalities in a row.

    Cropping and mirroring before it treats all modalities alike:
    `view.Chain((Crop(64), view.Fork((Modality("image", layout), Modality("depth", layout)))))`.

    Args:
        name: of the modality to keep.
        layout: channels of each modality, in their order, as pairs `(("image", 3), ("depth", 1))`. Not a dictionary:
            gin forgets the order of its entries. The training loop compares it with the data's.
    """

    name: str
    layout: tuple

    def __post_init__(self):
        pairs = self.layout if isinstance(self.layout, (tuple, list)) else ()
        are = all(isinstance(pair, (tuple, list)) and len(pair) == 2 for pair in pairs)
        are = are and all(isinstance(count, int) and count > 0 for _, count in pairs)
        are = are and len(dict(pairs)) == len(pairs) > 0
        view.require(are, "Modality", "`layout` to be pairs (name, number of channels)", layout=self.layout)
        # Pairs, so that equal views have equal hashes.
        object.__setattr__(self, "layout", tuple((name, count) for name, count in pairs))
        view.choice("Modality", "name", self.name, tuple(dict(self.layout)))

    def apply(self, images, drawn):
        """The modality's channels."""
        total = sum(count for _, count in self.layout)
        expected = f"images of the {total} channels of `layout`"
        view.require(images.shape[-1] == total, "Modality", expected, channels=images.shape[-1], layout=self.layout)
        number = [name for name, _ in self.layout].index(self.name)
        before = sum(count for _, count in self.layout[:number])
        return images[..., before : before + self.layout[number][1]]

    def output_shape(self, shape):
        """`(B, H, W, its channels)`."""
        return (*shape[:3], dict(self.layout)[self.name])
