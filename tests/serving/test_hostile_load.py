"""The hostile load test of the server, for some seconds; how soon it answers depends on the machine."""

import numpy as np
import pytest

from zoo.tools import hostile_test


def test_small_requests_are_answered_among_hostile_ones(deployed):
    record = hostile_test.measured(deployed / "encoder" / "7", seconds=6, strangers=4)
    assert {what: record[what] for what in ("dead", "wrong", "lost", "unexpected")} == dict.fromkeys(
        ("dead", "wrong", "lost", "unexpected"), 0
    ), record
    assert record["requests"] > 0 and np.isfinite(record["p99_ms"])
    assert set(record["hostile"]) == set(hostile_test.KINDS)


def test_what_goes_wrong_is_seen(deployed, monkeypatch):
    monkeypatch.setattr(hostile_test.load_test.Work, "right", lambda *told: False)
    record = hostile_test.measured(deployed / "encoder" / "7", seconds=1, strangers=1, kinds=("garbage",))
    assert record["wrong"] == record["requests"] > 0


@pytest.mark.parametrize("kinds", [[], ["pixels", "other"]])
def test_kinds_that_are_none(kinds):
    with pytest.raises(ValueError, match="--kinds: expected some of pixels"):
        hostile_test.check(kinds)
