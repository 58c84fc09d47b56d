import os

import numpy as np
import pytest
import tensorflow as tf

from zoo.data import records


@pytest.fixture
def files(tmp_path):
    """Three files of 4, 0 and 3 records."""
    random, paths, contents = np.random.default_rng(0), [], []
    for number, count in enumerate((4, 0, 3)):
        paths.append(str(tmp_path / f"{number}.tfrecord"))
        with tf.io.TFRecordWriter(paths[-1]) as writer:
            for _ in range(count):
                contents.append(random.bytes(int(random.integers(0, 300))))
                writer.write(contents[-1])
    return paths, contents


def test_any_record_in_any_order(files, tmp_path):
    paths, contents = files
    index = records.Index(paths, [4, 0, 3], cache=None)
    order = [6, 0, 3, 3, 5, 1]
    assert list(index.read(order)) == [contents[i] for i in order]
    assert len(index) == 7 and index.path(3) == paths[0] and index.path(4) == paths[2]


def test_the_cache_is_used_and_notices_changes(files, tmp_path, monkeypatch):
    paths, contents = files
    kept = tmp_path / "kept"
    records.Index(paths, [4, 0, 3], cache=kept)
    monkeypatch.setattr(records, "scan", None)
    assert list(records.Index(paths, [4, 0, 3], cache=kept).read(range(7))) == contents
    monkeypatch.undo()
    with tf.io.TFRecordWriter(paths[1]) as writer:
        writer.write(b"new")
    assert list(records.Index(paths, [4, 1, 3], cache=kept).read([4])) == [b"new"]


def test_a_damaged_or_forbidden_cache_only_costs_time(files, tmp_path):
    paths, contents = files
    kept = tmp_path / "kept"
    records.Index(paths, [4, 0, 3], cache=kept)
    (file,) = kept.iterdir()
    file.write_bytes(b"PK nonsense")
    assert list(records.Index(paths, [4, 0, 3], cache=kept).read(range(7))) == contents
    (tmp_path / "occupied").write_text("")
    assert len(records.Index(paths, [4, 0, 3], cache=tmp_path / "occupied")) == 7


def test_refuses_a_file_that_is_cut_off(files):
    paths, _ = files
    os.truncate(paths[2], os.path.getsize(paths[2]) - 1)
    with pytest.raises(ValueError, match="2.tfrecord'.*ends within a record"):
        records.Index(paths, [4, 0, 3], cache=None)


def test_refuses_another_number_of_records(files):
    with pytest.raises(ValueError, match="expected 5 records"):
        records.Index(files[0], [5, 0, 3], cache=None)
