import sys

import pytest

from zoo.transfer import intervals, knn_protocol, linear_protocol, protocols


def test_protocols_of_the_library_are_found_by_name():
    assert set(protocols.names()) >= {"knn", "linear"}
    assert protocols.find("knn") is knn_protocol.protocol
    assert protocols.find("linear") is linear_protocol.protocol


def test_a_new_file_is_a_new_protocol(tmp_path, monkeypatch):
    (tmp_path / "new_protocol.py").write_text("def protocol(model, train, test, *, seed, features):\n    return []\n")
    monkeypatch.setattr(protocols, "__file__", str(tmp_path / "protocols.py"))
    assert protocols.names() == ["new"]


def test_a_protocol_of_your_own_is_found_by_its_path(tmp_path, monkeypatch):
    (tmp_path / "my_module.py").write_text("def score():\n    pass\n")
    (tmp_path / "broken_module.py").write_text("import no_such_library\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert protocols.find("my_module.score") is sys.modules["my_module"].score
    with pytest.raises(ValueError, match="a function of the module 'my_module'. .*'my_module.scor'. Did you mean 'sc"):
        protocols.find("my_module.scor")
    with pytest.raises(ValueError, match="Received: name='my_modul.score', but there is no module 'my_modul'"):
        protocols.find("my_modul.score")
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        protocols.find("broken_module.score")


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="`name` to be one of .*'knn'.* Received: name='kn'. Did you mean 'kn"):
        protocols.find("kn")


def test_measurements():
    found = protocols.accuracy(0.9, 500, {"k": 5})
    assert found.metric == "accuracy" and found.interval[0] < 0.9 < found.interval[1] and found.details == {"k": 5}
    with pytest.raises(ValueError, match="Measurement: expected details"):
        protocols.Measurement("accuracy", None, None, 500)
    with pytest.raises(ValueError, match=r"protocols.accuracy: expected `value` in \[0, 1\]. Received: value=90.0"):
        protocols.accuracy(90, 500)


def test_the_interval_of_an_accuracy_holds_those_of_equally_good_settings():
    found = protocols.accuracy(0.5, 100, others=(0.4, 0.5, 0.7))
    assert found.value == 0.5
    assert found.interval == (intervals.wilson(0.4, 100)[0], intervals.wilson(0.7, 100)[1])
    assert protocols.accuracy(0.5, 100).interval == intervals.wilson(0.5, 100)
