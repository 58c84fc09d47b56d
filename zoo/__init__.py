"""A zoo of contrastive encoders: load published models, or train, evaluate and export your own.

Names are looked up on first use (PEP 562): `import zoo` imports neither TensorFlow nor Keras.
"""

import importlib
import importlib.abc
import importlib.util
import sys
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:  # for editors and type checkers
    from zoo import train, views
    from zoo.features import extract
    from zoo.hub.cards import info, list_models
    from zoo.hub.pretrained import load
    from zoo.methods.byol import BYOL
    from zoo.methods.cmc import CMC
    from zoo.methods.cmc_v2 import CMCv2
    from zoo.methods.exemplar import Exemplar
    from zoo.methods.infomin import InfoMin
    from zoo.methods.insdis import InsDis
    from zoo.methods.moco import MoCo
    from zoo.methods.moco_v3 import MoCoV3
    from zoo.methods.pcl import PCL
    from zoo.methods.pirl import PIRL
    from zoo.methods.simclr import SimCLR
    from zoo.methods.simsiam import SimSiam
    from zoo.methods.sup_con import SupCon
    from zoo.methods.supervised import Supervised
    from zoo.methods.swav import SwAV
    from zoo.transfer.evaluate import evaluate

# Name -> module and the name there; None for the module itself.
_HOMES: dict[str, tuple[str, str | None]] = {
    "load": ("zoo.hub.pretrained", "load"),
    "list_models": ("zoo.hub.cards", "list_models"),
    "info": ("zoo.hub.cards", "info"),
    "train": ("zoo.train", None),
    "evaluate": ("zoo.transfer.evaluate", "evaluate"),
    "extract": ("zoo.features", "extract"),
    "views": ("zoo.views", None),
    "SimCLR": ("zoo.methods.simclr", "SimCLR"),
    "MoCo": ("zoo.methods.moco", "MoCo"),
    "InsDis": ("zoo.methods.insdis", "InsDis"),
    "PIRL": ("zoo.methods.pirl", "PIRL"),
    "InfoMin": ("zoo.methods.infomin", "InfoMin"),
    "CMC": ("zoo.methods.cmc", "CMC"),
    "CMCv2": ("zoo.methods.cmc_v2", "CMCv2"),
    "Exemplar": ("zoo.methods.exemplar", "Exemplar"),
    "SupCon": ("zoo.methods.sup_con", "SupCon"),
    "Supervised": ("zoo.methods.supervised", "Supervised"),
    "SwAV": ("zoo.methods.swav", "SwAV"),
    "PCL": ("zoo.methods.pcl", "PCL"),
    "BYOL": ("zoo.methods.byol", "BYOL"),
    "SimSiam": ("zoo.methods.simsiam", "SimSiam"),
    "MoCoV3": ("zoo.methods.moco_v3", "MoCoV3"),
}

__all__ = [
    "BYOL",
    "CMC",
    "CMCv2",
    "Exemplar",
    "InfoMin",
    "InsDis",
    "MoCo",
    "MoCoV3",
    "PCL",
    "PIRL",
    "SimCLR",
    "SimSiam",
    "SupCon",
    "Supervised",
    "SwAV",
    "__version__",
    "evaluate",
    "extract",
    "info",
    "list_models",
    "load",
    "train",
    "views",
]


class _AfterKeras(importlib.abc.MetaPathFinder):
    """Registers our layers with Keras as soon as it is imported, so that it loads the models it saved with them."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        """Returns the spec of Keras, whose import goes on with ours; None for other modules."""
        if fullname != "keras":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec("keras")
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_and_register(module: Any) -> None:
            execute(module)
            importlib.import_module(_REGISTERING)

        spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec


_REGISTERING = "zoo.models.serializable"
if "keras" in sys.modules:
    importlib.import_module(_REGISTERING)
else:
    sys.meta_path.insert(0, _AfterKeras())


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'zoo' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    found = importlib.import_module(module)
    return found if attribute is None else getattr(found, attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
