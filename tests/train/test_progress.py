import io
import logging

import pytest

from zoo.train import progress


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_plain_lines_have_rate_and_remaining_time(clock, caplog):
    shown = progress.Progress(total=100, start=10, images_per_step=8, steps_per_epoch=10)
    with caplog.at_level(logging.INFO, logger="zoo.train.progress"):
        clock[0] += 60  # compiling; says nothing about the rate
        shown.update(20)
        clock[0] += 5
        shown.update(40, {"loss": 1.5})
    assert "step 20/100" in caplog.messages[0] and "unknown" in caplog.messages[0]
    assert caplog.messages[1] == "epoch 4/10  step 40/100  loss 1.5000  32 images/s  ETA 0:00:15"


def test_between_records_it_speaks_every_ten_seconds_at_most(clock, caplog):
    shown = progress.Progress(total=100, start=0, images_per_step=8, steps_per_epoch=10)
    with caplog.at_level(logging.INFO, logger="zoo.train.progress"):
        for step in range(1, 50):
            clock[0] += 1
            shown.update(step)
    assert len(caplog.messages) == 4


def test_the_other_workers_are_silent(clock, caplog):
    shown = progress.Progress(total=100, start=0, images_per_step=8, steps_per_epoch=10, show=False)
    with caplog.at_level(logging.INFO, logger="zoo.train.progress"):
        clock[0] += 60
        shown.update(50, {"loss": 1.0})
    assert not caplog.messages


def test_a_terminal_gets_a_bar(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(progress.sys, "stderr", Terminal())
    shown = progress.Progress(total=4, start=0, images_per_step=8, steps_per_epoch=2)
    shown.update(2, {"loss": 1.25})
    shown.update(4, {"knn_accuracy": 0.5, "uniformity": -2.0})  # an evaluation has no loss: the last one stays
    task = shown._bar.tasks[0]
    shown.close()
    assert task.finished and task.description == "epoch 2/2  loss 1.2500  knn_accuracy 0.5000"
