"""The layers and initializers that Keras must know to load a saved model: importing this module registers them."""

from zoo.models import convert, initial, norm, standardize

CLASSES = (
    convert.Convert,
    initial.VarianceScaling,
    initial.RandomNormal,
    norm.BatchNorm,
    standardize.Standardize,
)
