"""Modalities as views: CMC (Tian et al., 2019, https://arxiv.org/abs/1906.05849) learns from image, depth, normals."""

import dataclasses

from zoo import checks
from zoo.views import view


@dataclasses.dataclass(frozen=True)
class Modality(view.View):
    """Chooses one map of a dictionary of maps, `{name: [B, H, W, C]} -> [B, H, W, C]`.

    Cropping and mirroring before it treats all maps alike:
    `view.Chain((Crop(64), view.Fork((Modality("image"), Modality("depth")))))`.

    Args:
        name: of the map, as the data has it.
    """

    name: str

    structural = True

    def __post_init__(self):
        checks.require(isinstance(self.name, str), "Modality", "`name` to be the name of a map", name=self.name)

    def apply(self, images, drawn):
        """Returns the map."""
        return self._chosen(images)

    def output_shape(self, shape):
        """Returns the shape of the map."""
        return self._chosen(shape)

    def _chosen(self, maps):
        if not isinstance(maps, dict):
            # Data of a single image come as an array.
            checks.one_of("Modality", "name", self.name, ("image",))
            return maps
        checks.one_of("Modality", "name", self.name, tuple(maps))
        return maps[self.name]
