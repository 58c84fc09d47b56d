"""Nearest neighbors and logistic regression in scikit-learn: see `evaluation`."""

import warnings

import inputs
import numpy as np
from sklearn import linear_model, model_selection, preprocessing
from sklearn import neighbors as nearest

CLASSES = 10
# Those of `zoo.transfer.linear`.
PENALTIES = tuple(10.0 ** (-step / 2) for step in range(13))
warnings.filterwarnings("ignore")


def neighbors(train, test, width, k):
    """Brute force by cosine."""
    features, queries = inputs.unit(train, width), inputs.unit(test, width, 1)

    def run():
        index = nearest.NearestNeighbors(n_neighbors=k, algorithm="brute", metric="cosine").fit(features)
        distances, rows = index.kneighbors(queries)
        return 1 - distances, rows

    def check(found):
        similarities, rows = found
        return [*similarities.mean(axis=0)[[0, 1, -1]], rows[:, 0].mean() / 1e6]

    return run, check


def _fitted(features, labels, l2):
    return linear_model.LogisticRegression(C=1 / (len(labels) * l2), max_iter=1000).fit(features, labels)


def fit(train, width, l2):
    """L-BFGS under one penalty."""
    features, labels = inputs.features(train, width, CLASSES)

    def check(model):
        losses = -model.predict_log_proba(features)[np.arange(len(labels)), labels]
        return [losses.mean() + 0.5 * l2 * np.square(model.coef_).sum()]

    return lambda: _fitted(features, labels, l2), check


def _brier(model, features, labels):
    odds = model.predict_proba(features)
    return -np.square(odds - np.eye(CLASSES)[labels]).sum(axis=1).mean()


def sweep(train, test, width):
    """The penalty is chosen by the Brier score of five folds, then all are fitted."""
    features, labels = inputs.features(train, width, CLASSES)
    test_features, test_labels = inputs.features(test, width, CLASSES, 1)

    def run():
        standard = preprocessing.StandardScaler().fit(features)
        folds = model_selection.StratifiedKFold(5, shuffle=True, random_state=0)
        search = model_selection.GridSearchCV(
            linear_model.LogisticRegression(max_iter=1000),
            {"C": [1 / (train * l2) for l2 in PENALTIES]},
            scoring=_brier,
            cv=folds,
        )
        model = search.fit(standard.transform(features), labels)
        return float((model.predict(standard.transform(test_features)) == test_labels).mean())

    return run, lambda accuracy: [accuracy]
