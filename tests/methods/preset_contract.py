"""The contract for the presets, and refusals that methods with one kind of memory share."""

import random

import contract
import pytest
from reference import presets


class OfPreset(contract.Contract):
    """A subclass names the preset, and arguments other than its own."""

    size, count = presets.BATCH, presets.DATA
    name = ""
    arguments = {}

    def make(self):
        return presets.make(self.name, **self.arguments)

    def views(self, seed=0):
        return presets.images(self.name, seed)


class OfQueue(OfPreset):
    """Refuses data and batches that do not fit a queue and a momentum encoder."""

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"batch_size": 6}, "`bn_groups` to divide the global batch of 6"),
            ({"batch_size": 12}, "multiple of the global batch of 12"),
            ({"ids": range(36)}, "at most 24"),
            ({"batch_size": 4}, "groups of two or more"),
            ({"replica_count": 8}, "1 or a multiple of the 8 replicas"),
        ],
    )
    def test_refuses_data_that_do_not_fit(self, changes, message):
        with pytest.raises(ValueError, match=message):
            self.make().begin(self.spec(**changes))

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"temperature": 0}, "`temperature` > 0"),
            ({"bn_groups": 0}, "`bn_groups` to be a positive integer"),
            ({"queue_size": 0}, "`size` to be a positive integer"),
            ({"momentum": 1.5}, r"`momentum` in \[0, 1\]"),
        ],
    )
    def test_refuses_arguments(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            presets.begun(self.name, **arguments)


class OfBank(OfPreset):
    """Refuses data and numbers of candidates that do not fit a memory bank."""

    @pytest.mark.parametrize(
        ("changes", "message"),
        [({"ids": [*range(63), 70]}, "consecutive ids"), ({"ids": [4]}, "two images or more")],
    )
    def test_refuses_data_that_do_not_fit(self, changes, message):
        with pytest.raises(ValueError, match=message):
            self.make().begin(self.spec(**changes))

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"temperature": 0}, "`temperature` > 0"),
            ({"num_candidates": presets.DATA}, "`num_candidates` from 1 to the 63 other images"),
            ({"num_candidates": 0}, "`num_candidates` from 1"),
            ({"bank_momentum": -0.5}, r"`momentum` in \[0, 1\]"),
            ({"per_image": "no"}, "`per_image` to be a bool"),
        ],
    )
    def test_refuses_arguments(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            presets.begun(self.name, **arguments)


def seed():
    """Gives the methods that are made next the same weights and memory."""
    random.seed(1)
