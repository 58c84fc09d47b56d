"""Modalities as views: CMC (Tian et al., 2019, https://arxiv.org/abs/1906.05849) learns from image, depth, normals."""

import dataclasses
from typing import Any

from zoo import checks
from zoo.views import maps, view


@dataclasses.dataclass(frozen=True)
class Modality(view.View):
    """Chooses one map of a dictionary, `{key: [B, H, W, C]} -> [B, H, W, C]`.

    Geometric views before it treat all maps alike:
    `view.Chain((Crop(64), view.Fork((Modality("image"), Modality("depth")))))`.

    Args:
        name: key of the map.
    """

    name: str

    takes_maps = True

    def __post_init__(self):
        is_valid = isinstance(self.name, str) and self.name != ""
        checks.require(is_valid, "Modality", "`name` to be the key of a map", name=self.name)

    def apply(self, images: Any, drawn: dict[str, Any]) -> Any:
        """Returns the map."""
        return self._chosen(images)

    def output_shape(self, shape: Any) -> Any:
        """Returns the shape of the map."""
        return self._chosen(shape)

    def _chosen(self, images):
        # Data with a single image come as an array.
        known = tuple(images) if isinstance(images, dict) else (maps.IMAGE,)
        checks.one_of("Modality", "name", self.name, known)
        return images[self.name] if isinstance(images, dict) else images
