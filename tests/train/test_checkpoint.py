import errno
import logging

import keras
import numpy as np
import pytest

from zoo.train import checkpoint


def variables(seed=0, shapes=((2, 3), (4,))):
    generator = np.random.default_rng(seed)
    return [
        keras.Variable(generator.normal(size=shape), dtype="float32", name=f"v{i}") for i, shape in enumerate(shapes)
    ]


def values(found):
    return [keras.ops.convert_to_numpy(v) for v in found]


def test_restores_bit_for_bit(tmp_path):
    saved, empty = variables(0), variables(1)
    checkpoint.Checkpoints(tmp_path).save(7, saved)
    assert checkpoint.Checkpoints(tmp_path).restore(empty) == 7
    for ours, theirs in zip(values(empty), values(saved), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_nothing_to_restore(tmp_path):
    assert checkpoint.Checkpoints(tmp_path / "none").restore(variables()) is None


def test_keeps_the_newest(tmp_path):
    folder = checkpoint.Checkpoints(tmp_path, keep=2)
    for step in (5, 100, 20):
        folder.save(step, variables())
    assert [path.name for path in folder.files()] == ["step-000000020.npz", "step-000000100.npz"]


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty"])
def test_falls_back_from_a_damaged_checkpoint_and_says_so(tmp_path, damage, caplog):
    folder = checkpoint.Checkpoints(tmp_path)
    folder.save(1, variables(1))
    folder.save(2, variables(2))
    newest = folder.files()[-1]
    data = bytearray(newest.read_bytes())
    if damage == "flip":
        where = bytes(data).index(values(variables(2))[0].tobytes())
        data[where] ^= 1
    newest.write_bytes(bytes(data) if damage == "flip" else data[: 0 if damage == "empty" else len(data) // 2])
    found = variables(0)
    with caplog.at_level(logging.WARNING):
        assert folder.restore(found) == 1
    assert "damaged" in caplog.text and newest.name in caplog.text
    np.testing.assert_array_equal(values(found)[0], values(variables(1))[0])


def test_any_damaged_byte_leads_to_the_checkpoint_before(tmp_path):
    folder = checkpoint.Checkpoints(tmp_path)
    folder.save(1, variables(1, ((2,),)))
    folder.save(2, variables(2, ((2,),)))
    newest = folder.files()[-1]
    data = newest.read_bytes()
    found = variables(0, ((2,),))
    for position in range(len(data)):
        for flip in (1, 0x80, 0xFF):
            damaged = bytearray(data)
            damaged[position] ^= flip
            newest.write_bytes(damaged)
            assert folder.restore(found) == 1, (position, flip)
    for length in range(len(data)):
        newest.write_bytes(data[:length])
        assert folder.restore(found) == 1, length
    newest.write_bytes(data)
    assert folder.restore(found) == 2


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_says_what_is_not_finite(dtype, value):
    good = keras.Variable([1.0, 2.0], dtype=dtype, name="good")
    bad = keras.Variable([1.0, value], dtype=dtype, name="bad")
    checkpoint.check_finite(1, [good, keras.Variable([1, 2], dtype="int32")])
    with pytest.raises(FloatingPointError, match="finite variables. Received: 1 others after step 2, first bad"):
        checkpoint.check_finite(2, [good, bad])


def test_refuses_when_every_checkpoint_is_damaged(tmp_path):
    folder = checkpoint.Checkpoints(tmp_path)
    folder.save(1, variables())
    folder.files()[0].write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="damaged"):
        folder.restore(variables())


@pytest.mark.parametrize("shapes", [((2, 3), (5,)), ((2, 3),), ((2, 3), (4,), (1,))])
def test_refuses_a_checkpoint_of_another_model(tmp_path, shapes):
    checkpoint.Checkpoints(tmp_path).save(1, variables())
    other = variables(5, shapes)
    before = values(other)
    with pytest.raises(ValueError, match="another workdir|Use another"):
        checkpoint.Checkpoints(tmp_path).restore(other)
    for ours, theirs in zip(values(other), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("dense_3/kernel", "dense_5/kernel"),
        ("dense/kernel", "dense_1/kernel"),
        ("sequential_1/dense_12/bias", "sequential/dense/bias"),
        ("LARS/sequential_1_dense_2_kernel_momentum", "LARS/sequential_dense_kernel_momentum"),
        ("adamw_1/dense_kernel_momentum", "adamw/dense_1_kernel_momentum"),
    ],
)
def test_numbers_that_keras_gives_to_layers_do_not_matter(first, second):
    assert checkpoint.unnumbered(first) == checkpoint.unnumbered(second)
    assert checkpoint.unnumbered(first) != checkpoint.unnumbered(second.replace("dense", "conv"))


def test_restores_the_first_part_where_the_rest_is_an_optimizers(tmp_path):
    checkpoint.Checkpoints(tmp_path).save(3, variables())
    first = variables(9)[:1]
    assert checkpoint.Checkpoints(tmp_path).restore(first, rest=True) == 3
    np.testing.assert_array_equal(values(first)[0], values(variables())[0])


def test_a_full_disk_leaves_the_earlier_checkpoint_and_no_remains(tmp_path, monkeypatch):
    folder = checkpoint.Checkpoints(tmp_path)
    folder.save(1, variables(1))

    def full(file, **arrays):
        file.write(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space left.*step-000000001"):
        folder.save(2, variables(2))
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000001.npz"]
    assert folder.restore(variables()) == 1


def test_executes_no_pickle(tmp_path):
    folder = checkpoint.Checkpoints(tmp_path)
    folder.save(1, variables())
    np.savez(open(folder.files()[0], "wb"), meta=np.array([{"step": 1}], dtype=object))
    with pytest.raises(ValueError, match="damaged"):
        folder.restore(variables())
