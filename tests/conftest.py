"""Settings that every test shares."""

import os
import random

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
# For this process and those that tests start. Compilation takes most of the time of what runs once or a few times, as
# the operations of JAX outside a step do; how good the code is does not matter here.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1",
)

import sys

import pytest

pytest.register_assert_rewrite("contract", "family_contract")  # its asserts then say what they compared


def pytest_configure(config):
    """Gives TensorFlow four logical CPUs, once, so that replicas can be tested in one process."""
    if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
        import tensorflow as tf

        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 4)
        # To optimize a graph takes longer than a test gains by it; programs that tests start as processes do so.
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def pytest_collection_modifyitems(items):
    """Puts files with slow tests first, so that with several processes none is left alone with one at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session", autouse=True)
def _no_tensorflow_beside_another_engine():
    yield
    if os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
        assert "tensorflow" not in sys.modules, "the core imported TensorFlow on another engine"


def _seed():
    # Keras draws the seeds of its initializers from here; its own `set_random_seed` would import TensorFlow on JAX.
    random.seed(0)


@pytest.fixture(scope="module", autouse=True)
def _same_weights_in_what_a_file_shares():
    _seed()


@pytest.fixture(autouse=True)
def _same_weights_every_time():
    _seed()
