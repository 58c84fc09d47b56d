"""The methods whose training steps are measured, with the weights that all candidates begin with, on either engine."""

from zoo.tools.benches.peers import inputs


def projector(features, made):
    """Returns a projector as an `inputs.Head` describes it, with its weights."""
    from zoo.models import heads
    from zoo.tools.benches import weights

    norm = {"final_norm": made.final_norm is not None, "final_scale": made.final_norm == "scale"}
    network = heads.projector(features, widths=made.widths, use_bias=made.bias, **norm)
    weights.fill_head(network, "projector", features, made)
    return network


def predictor(features, made):
    """Returns a predictor as an `inputs.Head` describes it, with its weights."""
    from zoo.models import heads
    from zoo.tools.benches import weights

    norm = made.final_norm is not None
    network = heads.predictor(features, width=made.widths[0], final_norm=norm, use_bias=made.final_bias)
    weights.fill_head(network, "predictor", features, made)
    return network


def learner(name, encoder, size):
    """Returns a method by its name in `inputs.HEADS`; its encoder is a ResNet."""
    import numpy as np

    from zoo.methods import method
    from zoo.tools.benches import weights

    heads = inputs.HEADS[name]
    factories = {
        "encoder": lambda image_shape: weights.resnet(encoder, size),
        "projector": lambda features: projector(features, heads["projector"]),
    }
    if "predictor" in heads:
        factories["predictor"] = lambda features: predictor(features, heads["predictor"])
    made = _MAKERS[name](factories)
    # Methods only compare the numbers of images and of the batch with their own settings.
    made.begin(method.Spec(((size, size, 3),) * 2, np.arange(inputs.PROTOTYPES), inputs.PROTOTYPES))
    if name == "swav":
        made.prototypes.assign(inputs.prototypes(heads["projector"].widths[-1]).T)
    return made


def _simclr(factories):
    from zoo.methods import simclr

    return simclr.SimCLR(**factories, temperature=inputs.TEMPERATURES["simclr"])


def _swav(factories):
    from zoo.methods import swav

    return swav.SwAV(
        **factories,
        prototypes=inputs.PROTOTYPES,
        temperature=inputs.TEMPERATURES["swav"],
        epsilon=inputs.EPSILON,
        iterations=inputs.ITERATIONS,
        frozen_steps=0,
    )


def _byol(factories):
    from zoo.methods import byol

    return byol.BYOL(**factories, momentum=inputs.MOMENTA["byol"])


def _simsiam(factories):
    from zoo.methods import simsiam

    return simsiam.SimSiam(**factories)


def _moco_v3(factories):
    from zoo.methods import moco_v3

    settings = {"temperature": inputs.TEMPERATURES["moco_v3"], "momentum": inputs.MOMENTA["moco_v3"]}
    return moco_v3.MoCoV3(**factories, **settings)


_MAKERS = {"simclr": _simclr, "swav": _swav, "byol": _byol, "simsiam": _simsiam, "moco_v3": _moco_v3}
