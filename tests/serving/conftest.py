import pytest
from reference import running, toy_models

from zoo.serving import repository


def pytest_addoption(parser):
    group = parser.getgroup("serving", "a real tensorflow_model_server for test_conformance.py")
    group.addoption("--serving_rest", help="its REST API, http://host:8501")
    group.addoption("--serving_grpc", help="its gRPC API, host:8500")


@pytest.fixture(scope="session")
def deployed(tmp_path_factory):
    """The folder of `reference.toy_models`."""
    return toy_models.write(tmp_path_factory.mktemp("deployed"))


@pytest.fixture(scope="session")
def served(deployed):
    """A server of `deployed`."""
    with running.running(repository.named(deployed), grpc_port=0) as made:
        yield made
