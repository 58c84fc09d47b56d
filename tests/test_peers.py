"""Our objectives and the losses of other libraries on the same embeddings; `tests/peers` holds what those computed."""

import json
import pathlib

import numpy as np
import pytest
from keras import ops
from peers import inputs

from zoo import replicas
from zoo.objectives import regression, sup_con, swapped

PEERS = json.loads((pathlib.Path(__file__).parent / "peers" / "losses.json").read_text())["losses"]
ALONE = replicas.Alone()


def of_sup_con(temperature):
    views = map(ops.convert_to_tensor, inputs.views())
    labels = ops.convert_to_tensor(inputs.labels().astype("int32"))
    return ops.mean(sup_con.sup_con(*views, labels, float(temperature), ALONE)[0])


def of_negative_cosine():
    return ops.mean(regression.squared_distance(*map(ops.convert_to_tensor, inputs.views()))) / 2 - 1


def of_swav(epsilon, crops=2, with_queue=False):
    scores, queue = inputs.scores()
    losses = []
    for code_view in range(2):
        assigned = np.concatenate([scores[code_view], *([queue[code_view]] if with_queue else [])])
        codes = swapped.sinkhorn(ops.convert_to_tensor(assigned), float(epsilon), 3, ALONE)[: inputs.IMAGES]
        losses += [
            swapped.swapped_prediction(ops.convert_to_tensor(scores[view]), codes, 0.1)[0]
            for view in range(crops)
            if view != code_view
        ]
    return ops.mean(sum(losses) / len(losses))


OURS = {
    "sup_con": of_sup_con,
    "negative_cosine": of_negative_cosine,
    "swav": of_swav,
    "swav multi-crop": lambda epsilon: of_swav(epsilon, inputs.CROPS),
    "swav queue": lambda epsilon: of_swav(epsilon, inputs.CROPS, with_queue=True),
}


@pytest.mark.parametrize("case", PEERS)
def test_losses_are_those_of_other_libraries(case):
    name, *argument = case.rsplit(" ", 1) if case[-1].isdigit() else [case]
    np.testing.assert_allclose(float(OURS[name](*argument)), PEERS[case], rtol=1e-5, atol=1e-5)
