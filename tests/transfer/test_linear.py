import numpy as np
import pytest
import scipy.special
from sklearn import datasets, linear_model, preprocessing

from zoo.transfer import linear, logistic, splits


@pytest.fixture(scope="module")
def digits():
    x, y = datasets.load_digits(return_X_y=True)
    x = (x / 16).astype(np.float32)
    return x[:600], y[:600], x[600:1000], y[600:1000]


def peer(x, y, l2):
    model = linear_model.LogisticRegression(C=1 / (len(x) * l2), solver="lbfgs", tol=1e-10, max_iter=10_000)
    return model.fit(x, y)


def loss_and_gradient(kernel, bias, x, y, l2):
    """Returns the loss of the module's formula and its gradients with respect to kernel and bias."""
    logits = x @ kernel + bias
    target = np.eye(kernel.shape[1])[y]
    loss = (scipy.special.logsumexp(logits, axis=1) - (logits * target).sum(axis=1)).mean() + l2 / 2 * (kernel**2).sum()
    residual = scipy.special.softmax(logits, axis=1) - target
    return loss, x.T @ residual / len(x) + l2 * kernel, residual.mean(axis=0)


@pytest.mark.parametrize("l2", [1e-1, 1e-2, 1e-3])
@pytest.mark.parametrize("count", [500, 40])  # 40 examples of 64 features: fewer than features
def test_the_same_as_scikit_learn(digits, l2, count):
    x, y, test, truth = digits
    rows = splits.per_class(y, count // 10, 0)
    standard = linear.Standard(x[rows])
    features, y = standard(x[rows]).astype(np.float64), y[rows]
    kernel, bias = logistic.fit(features, y, l2, tolerance=1e-9, iterations=2000)
    model = peer(features, y, l2)
    np.testing.assert_allclose(kernel.T, model.coef_, atol=1e-3)
    np.testing.assert_allclose(bias - bias.mean(), model.intercept_ - model.intercept_.mean(), atol=1e-3)
    predicted = (standard(test) @ kernel + bias).argmax(axis=1)
    np.testing.assert_array_equal(predicted, model.predict(standard(test)))


def test_single_precision_reaches_the_same_minimum(digits, monkeypatch):
    x, y = linear.Standard(digits[0])(digits[0]), digits[1]
    exact, _ = logistic.fit(x, y, 1e-2, tolerance=1e-9)
    monkeypatch.setattr(logistic, "_SMALL", 0)
    kernel, _ = logistic.fit(x, y, 1e-2)
    np.testing.assert_allclose(kernel, exact, atol=1e-3)
    assert not np.array_equal(kernel, exact)  # computed by the other function


def test_the_gradient_vanishes_at_the_minimum(digits):
    x, y = linear.Standard(digits[0])(digits[0]).astype(np.float64), digits[1]
    kernel, bias = logistic.fit(x, y, 1e-3, tolerance=1e-8, iterations=2000)
    _, by_kernel, by_bias = loss_and_gradient(kernel, bias, x, y, 1e-3)
    assert np.abs(by_kernel).max() < 1e-6 and np.abs(by_bias).max() < 1e-6


@pytest.mark.parametrize("objective", [logistic._small, logistic._large])
def test_objectives_equal_the_formula(objective):
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((30, 6)).astype(np.float32), rng.integers(0, 4, 30)
    kernel, bias = rng.standard_normal((6, 4)), rng.standard_normal(4)
    found = objective(kernel, bias, x.T, np.eye(4, dtype=np.float32)[y])
    for value, expected in zip(found, loss_and_gradient(kernel, bias, x, y, 0.0), strict=True):
        np.testing.assert_allclose(value, expected, rtol=2e-5, atol=1e-6)


def test_the_start_does_not_matter(digits):
    x, y = linear.Standard(digits[0])(digits[0]).astype(np.float64), digits[1]
    cold, _ = logistic.fit(x, y, 1e-3, tolerance=1e-9, iterations=2000)
    warm, _ = logistic.fit(x, y, 1e-3, start=logistic.fit(x, y, 1.0), tolerance=1e-9, iterations=2000)
    np.testing.assert_allclose(warm, cold, atol=1e-4)


@pytest.mark.parametrize(("rows", "tolerance"), [(200, 1e-7), (40_000, 3e-5)])
def test_any_rotation_leads_to_the_minimum(rows, tolerance):
    """The loss is strictly convex: where its gradient vanishes is the minimum, whichever axes the solver uses.

    The solver promises that no entry of the gradient on its scaled axes exceeds the tolerance. In single precision
    (40,000 rows) it cannot promise less than some 1e-5, where the decrease of the loss drowns in its rounding.
    """
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((rows, 30)) * np.linspace(0.3, 3, 30), rng.integers(0, 3, rows)
    rotation = np.linalg.qr(rng.standard_normal((30, 30)))[0]
    for given in (None, rotation, logistic.Problem(x[: rows // 2], y[: rows // 2], 3).rotation):
        problem = logistic.Problem(x, y, 3, given)
        kernel, bias = problem.solve(1e-2, tolerance=tolerance, iterations=2000)
        _, by_kernel, by_bias = loss_and_gradient(kernel, bias, x, y, 1e-2)
        # The axes are scaled by the curvature of the loss along them where all classes are equally likely.
        curvature = np.mean((x @ problem.rotation) ** 2, axis=0) / 3
        on_axes = problem.rotation.T @ by_kernel / np.sqrt(curvature + 1e-2)[:, None]
        assert np.abs(on_axes).max() < 1.05 * tolerance
        assert np.abs(by_bias).max() * np.sqrt(3) < 1.05 * tolerance


def test_without_information_only_the_bias_is_learned():
    y = np.array([0] * 30 + [1] * 10)
    kernel, bias = logistic.fit(np.zeros((40, 3)), y, 1e-3, tolerance=1e-9)
    assert np.abs(kernel).max() == 0
    assert bias[0] - bias[1] == pytest.approx(np.log(3), abs=1e-6)  # the odds of the classes


def test_standard_is_that_of_scikit_learn_where_all_features_vary(digits):
    x = np.random.default_rng(0).standard_normal((200, 4)) * [1, 2, 3, 4] + 5
    expected = preprocessing.StandardScaler().fit(x).transform(x)
    np.testing.assert_allclose(linear.Standard(x)(x), expected, atol=1e-4)


def test_features_that_hardly_vary_are_not_scaled_up():
    x = np.random.default_rng(0).standard_normal((100, 2)).astype(np.float32) * [1, 1e-6] + [0, 7]
    standard = linear.Standard(x.astype(np.float32))
    assert standard.scale[0] == pytest.approx(x[:, 0].std(), rel=1e-3)
    assert standard.scale[1] == pytest.approx(0.1 * x[:, 0].std() / np.sqrt(2), rel=1e-3)
    assert np.isfinite(linear.Standard(np.ones((5, 2), np.float32))(np.zeros((1, 2)))).all()


@pytest.mark.slow
def test_the_penalty_is_the_one_that_held_out_labels_prefer(digits):
    x, y = digits[0][:200], digits[1][:200]
    held_out = splits.folds(y, 0, 3)
    choice = linear.chosen_l2(x, y, held_out)
    x = linear.Standard(x)(x)
    penalties = [10.0 ** (-step / 2) for step in range(1, 9)]
    scores = {}  # penalty -> Brier score of every example
    for l2 in penalties:
        scores[l2] = np.zeros(len(y))
        for fitting, choosing in held_out:
            odds = peer(x[fitting], y[fitting], l2).predict_proba(x[choosing])
            scores[l2][choosing] += np.square(odds - np.eye(10)[y[choosing]]).sum(axis=1)
    best = min(penalties, key=lambda l2: scores[l2].sum())
    assert best / 10**0.5 < choice.l2 < best * 10**0.5 and not choice.is_border
    worse = {l2: scores[l2] - scores[best] for l2 in penalties}
    near = {l2 for l2 in penalties if worse[l2].mean() <= worse[l2].std() / np.sqrt(len(y))}
    # Path fits end early, so that a penalty at the edge of the standard error may fall on its other side.
    assert abs(np.log10(choice.near[0] / max(near))) < 0.51 and abs(np.log10(choice.near[-1] / min(near))) < 0.51


def test_strong_penalties_win_where_features_are_noise():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((300, 80)).astype(np.float32), rng.integers(0, 2, 300)
    x[:, 0] += 1.5 * y
    l2, *_ = linear.chosen_l2(x, y, splits.folds(y, 0))
    assert l2 > 1e-2


def test_accuracy_on_digits_and_the_test_is_not_looked_at(digits):
    x, y, test, truth = digits
    accuracy, settings = linear.linear_accuracy(x, y, test, truth)
    assert accuracy > 0.88
    assert settings["C"] == pytest.approx(1 / (len(x) * settings["l2"]))
    low, high = settings.pop("accuracy_near")
    assert low <= accuracy <= high
    _, again = linear.linear_accuracy(x, y, test[:7], (truth[:7] + 1) % 10)
    assert again.pop("accuracy_near") == [0.0, 0.0]
    assert again == settings


@pytest.mark.slow
def test_spread_over_seeds_of_the_folds_is_below_a_point(digits):
    x, y, test, truth = digits
    rows = splits.per_class(y, 10, 0)
    found = [linear.linear_accuracy(x[rows], y[rows], test, truth, seed=seed)[0] for seed in range(10)]
    assert np.ptp(found) <= 0.01


def test_penalties_go_on_while_the_best_is_the_last():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    noise = rng.standard_normal((60, 40)).astype(np.float32)
    clear = (noise * 1e-3 + y[:, None]).astype(np.float32)
    held_out = splits.folds(y, 0)
    strong, weak = (linear.chosen_l2(x, y, held_out, penalties=(0.1, 0.01)) for x in (noise, clear))
    assert strong.l2 > 1 and weak.l2 < 1e-3
    assert weak.is_border and weak.l2 == pytest.approx(linear.WEAKEST)


def test_a_path_ends_soon_after_the_best(digits, monkeypatch):
    tried = []
    held_out = logistic.Problem.held_out
    monkeypatch.setattr(
        logistic.Problem, "held_out", lambda self, l2, *more: (tried.append(l2), held_out(self, l2, *more))[1]
    )
    x, y = digits[0][:200], digits[1][:200]
    choice = linear.chosen_l2(x, y, splits.folds(y, 0))
    assert tried == sorted(tried, reverse=True) and 0 < sum(l2 < choice.l2 for l2 in tried) <= 3


@pytest.mark.parametrize("l2", [1.0, 1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("classes", [2, 5, 20])
def test_reaches_the_minimum_where_features_outnumber_examples(classes, l2):
    """100 examples of 512 features can be separated, so that the objective and its curvature are small."""
    rng = np.random.default_rng(classes)
    y = rng.permutation(100) % classes
    x = rng.standard_normal((100, 512)) + 0.5 * rng.standard_normal((classes, 512))[y]
    found = loss_and_gradient(*logistic.fit(x, y, l2), x, y, l2)[0]
    least = loss_and_gradient(*logistic.fit(x, y, l2, tolerance=1e-12, iterations=100_000), x, y, l2)[0]
    assert found < least * (1 + 5e-3)
    if l2 >= 1e-4 and classes == 5:
        model = peer(x, y, l2)
        assert found < loss_and_gradient(model.coef_.T, model.intercept_, x, y, l2)[0] * (1 + 1e-3)


def test_labels_may_have_gaps(digits):
    x, y, test, truth = digits
    plain, _ = linear.linear_accuracy(x, y, test, truth)
    spread, _ = linear.linear_accuracy(x, 3 * y + 5, test, 3 * truth + 5)
    assert spread == plain


def test_refuses():
    x, y = np.eye(4, dtype=np.float32), np.array([0, 0, 1, 1])
    with pytest.raises(ValueError, match="two or more classes. Received: only 3"):
        linear.linear_accuracy(x, np.full(4, 3), x, y)
    with pytest.raises(ValueError, match="finite `train_features`"):
        linear.linear_accuracy(np.full_like(x, np.nan), y, x, y)
    with pytest.raises(ValueError, match="`l2` > 0. Received: l2=0"):
        logistic.fit(x, y, 0)
    with pytest.raises(ValueError, match="a label >= 0"):
        linear.linear_accuracy(x, y - 1, x, y)
