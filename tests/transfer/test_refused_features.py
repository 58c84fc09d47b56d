import numpy as np
import pytest

from zoo.transfer import knn, linear

PROTOCOLS = {"knn": lambda *data: knn.knn_accuracy(*data, k=None), "linear": linear.linear_accuracy}


def judge(protocol, name, changed):
    y = np.arange(20) % 2
    data = {"train_features": np.ones((20, 3)), "test_features": np.ones((20, 3))} | {name: changed}
    return PROTOCOLS[protocol](data["train_features"], y, data["test_features"], y)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])  # the last is infinite in single precision
@pytest.mark.parametrize("name", ["train_features", "test_features"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.filterwarnings("ignore:overflow")
def test_features_that_are_not_finite(protocol, name, value):
    changed = np.ones((20, 3))
    changed[[4, 4, 9], [0, 1, 2]] = value
    with pytest.raises(ValueError, match=f"{protocol}: expected finite `{name}`.*in 2 of 20 rows of {name}"):
        judge(protocol, name, changed)


@pytest.mark.parametrize("shape", [(), (20,), (20, 3, 1)])
@pytest.mark.parametrize("name", ["train_features", "test_features"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_of_the_wrong_rank(protocol, name, shape):
    with pytest.raises(ValueError, match=rf"{protocol}: expected `{name}` of shape \[n, F\]"):
        judge(protocol, name, np.ones(shape))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_widths_that_differ(protocol):
    with pytest.raises(ValueError, match=f"{protocol}: expected two matrices with the same number of features"):
        judge(protocol, "test_features", np.ones((20, 4)))
