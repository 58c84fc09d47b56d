"""Makes torchvision importable beside a CPU build of torch: its own build may be for CUDA, and then lacks operators."""

import torch

_OPERATORS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


def _declare():
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name, schema in _OPERATORS.items():
        library.define(name + schema)
    return library


try:
    import torchvision  # noqa: F401
except RuntimeError:
    import sys

    for _name in [each for each in sys.modules if each.split(".")[0] == "torchvision"]:
        del sys.modules[_name]
    LIBRARY = _declare()  # kept: it ends with its object
    import torchvision  # noqa: F401
