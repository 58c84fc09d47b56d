import numpy as np
import pytest
from keras import ops
from reference import ranks_numpy as reference

from zoo.objectives import geometry, ranks


def value(tensor):
    return float(ops.convert_to_numpy(tensor))


def tensor(z):
    return ops.convert_to_tensor(z.astype(np.float32))


def features(seed, *shape):
    """Random features whose directions differ in length."""
    return np.random.default_rng(seed).normal(size=shape) / np.arange(1, shape[-1] + 1) ** 0.7 + 0.3


def orthogonal(seed, rows, columns):
    """Columns of length 1, orthogonal to one another and to the constant column."""
    z = np.random.default_rng(seed).normal(size=(rows, columns))
    return np.linalg.qr(z - z.mean(axis=0))[0]


@pytest.mark.parametrize("shape", [(40, 12), (9, 30)])
def test_equal_the_transcriptions(shape):
    z = features(0, *shape)
    assert value(ranks.rank_me(tensor(z))) == pytest.approx(reference.rank_me(z), rel=1e-4)
    assert value(ranks.alpha_req(tensor(z), 2, 7)) == pytest.approx(reference.alpha_req(z, 2, 7), rel=1e-3)
    views = z[:, None] + 0.1 * features(1, shape[0], 5, shape[1])
    assert value(ranks.lidar(tensor(views))) == pytest.approx(reference.lidar(views), rel=1e-3)


def test_rank_me_is_the_effective_rank():
    z = tensor(features(2, 50, 8))
    assert value(ranks.rank_me(z)) == pytest.approx(value(geometry.effective_rank(z)), rel=1e-4)


def test_isotropic_features_have_every_rank():
    z = orthogonal(0, 64, 16)
    assert value(ranks.rank_me(tensor(z))) == pytest.approx(16, rel=1e-4)
    assert value(ranks.alpha_req(tensor(z))) == pytest.approx(0, abs=1e-4)
    # Views that differ equally in all directions: +-1 along each axis in turn.
    noise = np.concatenate([np.eye(16), -np.eye(16)]) * 0.01  # [32, 16]
    assert value(ranks.lidar(tensor(z[:, None] + noise))) == pytest.approx(16, rel=1e-3)


def test_features_on_a_line_have_rank_one():
    z = np.outer(np.linspace(-1, 1, 40), np.arange(1, 9))
    assert value(ranks.rank_me(tensor(z))) == pytest.approx(1, abs=1e-3)
    assert value(ranks.lidar(tensor(np.stack([z, z], axis=1)))) == pytest.approx(1, abs=1e-3)


def test_features_at_one_point_have_finite_ranks():
    z = np.ones((20, 6))
    found = [ranks.rank_me(tensor(z)), ranks.lidar(tensor(np.stack([z, z], axis=1))), ranks.alpha_req(tensor(z))]
    assert np.isfinite([value(rank) for rank in found]).all() and value(found[0]) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
def test_a_power_law_shows_its_exponent(exponent):
    z = orthogonal(1, 200, 50) * np.arange(1, 51) ** (-exponent / 2)
    assert value(ranks.alpha_req(tensor(z))) == pytest.approx(exponent, rel=1e-3)
    assert value(ranks.alpha_req(tensor(z), 5, 30)) == pytest.approx(exponent, rel=1e-3)


def test_noise_of_the_views_raises_rank_me_but_not_lidar():
    images = orthogonal(2, 300, 4) @ np.eye(4, 20)  # 4 of 20 dimensions tell images apart
    noise = np.random.default_rng(3).normal(size=(300, 10, 20)) * (np.arange(20) >= 4) * 0.1
    views = images[:, None] * 5 + noise
    assert value(ranks.rank_me(tensor(views.reshape(-1, 20)))) > 12
    assert value(ranks.lidar(tensor(views))) < 6


@pytest.mark.parametrize("scale", [0.01, 100.0])
def test_rank_me_and_alpha_req_do_not_depend_on_the_scale(scale):
    z = features(4, 60, 10)
    for measure in (ranks.rank_me, ranks.alpha_req):
        assert value(measure(tensor(z * scale))) == pytest.approx(value(measure(tensor(z))), rel=1e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda z: ranks.rank_me(z[0]), r"rank_me: expected features \[n, D\], n > 1. Received: shape=\(5,\)"),
        (lambda z: ranks.rank_me(z[:1]), r"rank_me: expected .*n > 1. Received: shape=\(1, 5\)"),
        (lambda z: ranks.lidar(z), r"lidar: expected features \[n, q, D\]"),
        (lambda z: ranks.lidar(z[:, None]), "lidar: expected two views or more. Received: views=1"),
        (lambda z: ranks.lidar(ops.stack([z, z], 1), delta=0), "lidar: expected `delta` > 0"),
        (lambda z: ranks.alpha_req(z, 3, 3), "alpha_req: expected `first` < `last` <= 5.*first=3, last=3"),
        (lambda z: ranks.alpha_req(z, 1, 6), "alpha_req: expected .*last=6"),
    ],
)
def test_refuse_what_has_no_rank(call, message):
    with pytest.raises(ValueError, match=message):
        call(tensor(features(5, 9, 5)))
