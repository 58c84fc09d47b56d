import pytest
import tensorflow as tf

from zoo.train import strategies


def test_default_is_one_device_and_its_own_chief():
    strategy = strategies.strategy()
    assert strategy.num_replicas_in_sync == 1 and strategies.is_chief(strategy)
    assert strategies.workers(strategy) == (1, 0)


def test_unknown_name_says_did_you_mean():
    with pytest.raises(ValueError, match="Did you mean 'mirrored'"):
        strategies.strategy("mirored")


@pytest.mark.parametrize(
    "jobs, task, index, chief, number",
    [
        ({"worker": ["a:1", "b:1"]}, "worker", 0, True, 0),
        ({"worker": ["a:1", "b:1"]}, "worker", 1, False, 1),
        ({"chief": ["a:1"], "worker": ["b:1"]}, "worker", 0, False, 1),
        ({"chief": ["a:1"], "worker": ["b:1"]}, "chief", 0, True, 0),
    ],
)
def test_one_worker_of_several_is_the_chief(jobs, task, index, chief, number):
    class Workers(tf.distribute.MultiWorkerMirroredStrategy):
        def __init__(self):  # starts no server
            self._resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
                tf.train.ClusterSpec(jobs), task_type=task, task_id=index
            )

        cluster_resolver = property(lambda self: self._resolver)

    assert strategies.is_chief(Workers()) == chief
    assert strategies.workers(Workers()) == (2, number)
