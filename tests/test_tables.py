"""The judged methods of `saved_models/tables` have learnt something: each beats its own encoder before training."""

import pytest

from zoo.tools import readme
from zoo.transfer import results

FOLDERS = sorted(path.parent for path in (readme.ROOT / "saved_models" / "tables").glob("*/*/results.json"))
# Means that are no better trained than untrained; README says so above the tables.
EXCEPTIONS = {
    # Perhaps because scenes draw colors apart from shapes: luma and chroma share little that tells the shape.
    ("scenes/cmc_2", "knn"),
    ("scenes/cmc_2", "linear"),
}


def means(folder):
    """Protocol -> kind of features -> mean accuracy over the seeds."""
    found = {}
    for row in results.read(folder):
        found.setdefault(row.protocol, {})[row.features] = row.value
    return found


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: "/".join(folder.parts[-2:]))
def test_a_trained_encoder_beats_itself_untrained(folder):
    name = "/".join(folder.parts[-2:])
    found = means(folder)
    assert set(found) == {"knn", "linear"}
    for protocol, mean in found.items():
        better = mean["trained"] > mean["untrained"]
        assert better != ((name, protocol) in EXCEPTIONS), (name, protocol, mean)


def test_exceptions_are_of_methods_that_are_there():
    names = {"/".join(folder.parts[-2:]) for folder in FOLDERS}
    assert {name for name, _ in EXCEPTIONS} <= names
