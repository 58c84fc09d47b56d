"""Encryption, tokens and origins, over both APIs."""

import logging
import subprocess

import numpy as np
import pytest
import requests
from grpc_health.v1 import health_pb2, health_pb2_grpc
from reference import running, toy_models

from zoo.serving import access, client, repository, status

TOKEN = "a token that nobody guesses"
SCHEMES = {("rest", False): "http", ("rest", True): "https", ("grpc", False): "grpc", ("grpc", True): "grpcs"}
IMAGES = np.zeros((2, *toy_models.IMAGE_SHAPE), np.float32)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Files of a certificate of this machine and of its key."""
    folder = tmp_path_factory.mktemp("pair")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        + ["-keyout", key, "-out", certificate, "-subj", "/CN=localhost"]
        + ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        check=True,
        capture_output=True,
    )
    return certificate, key


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "encrypted"])
def server(request, deployed, pair):
    files = dict(zip(("certificate", "key"), pair, strict=True)) if request.param else {}
    allowed = access.Access(token=TOKEN, origins=("https://example.org",), **files)
    with running.running(repository.named(deployed), grpc_port=0, allowed=allowed) as made:
        yield made


def asks(made, api, **options):
    is_encrypted = made.allowed.certificate is not None
    address = f"{SCHEMES[api, is_encrypted]}://localhost:{made.ports[api]}"
    options = {"certificate": made.allowed.certificate, "retries": 0, "timeout": 20, **options}
    return client.Client(address, "encoder", **options)


@pytest.mark.parametrize("api", ["rest", "grpc"])
def test_whoever_has_the_token_is_answered(server, api):
    with asks(server, api, token=TOKEN) as encoder:
        assert encoder(IMAGES).shape == (2, toy_models.FEATURES)
        assert encoder.wait(5) == {7: "AVAILABLE"}


@pytest.mark.parametrize("api", ["rest", "grpc"])
@pytest.mark.parametrize("token", [None, "", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "x" * 5000], ids=str)
def test_whoever_has_not_is_refused(server, api, token):
    with asks(server, api, token=token) as encoder:
        for call in (lambda: encoder(IMAGES), encoder._transport.states):
            with pytest.raises(status.ServingError, match="Bearer TOKEN. Received: none, or another token") as caught:
                call()
            assert caught.value.code == "UNAUTHENTICATED"


@pytest.mark.parametrize("api", ["rest", "grpc"])
def test_others_than_the_trusted_are_not_sent_the_token(server, api):
    if server.allowed.certificate:
        with asks(server, api, token=TOKEN, certificate=None) as encoder, pytest.raises(status.ServingError) as caught:
            encoder(IMAGES)
        assert caught.value.code == "UNAVAILABLE"


def test_health_needs_no_token(server):
    scheme, verify = ("https", server.allowed.certificate) if server.allowed.certificate else ("http", None)
    place = f"{scheme}://localhost:{server.ports['rest']}"
    for path, code in {"/health/live": 200, "/health/ready": 200, "/health/live/": 401, "/v1/models/half": 401}.items():
        assert requests.get(place + path, verify=verify).status_code == code
    assert requests.get(f"{place}/monitoring/prometheus/metrics", verify=verify).status_code == 401
    with asks(server, "grpc") as encoder:
        stub = health_pb2_grpc.HealthStub(encoder._transport._channel)
        assert stub.Check(health_pb2.HealthCheckRequest(), timeout=20).status == 1


def test_health_names_no_models_to_strangers(server, monkeypatch):
    monkeypatch.setattr(server.repository, "failures", lambda: ["encoder: no version"])
    scheme, verify = ("https", server.allowed.certificate) if server.allowed.certificate else ("http", None)
    url, answer = f"{scheme}://localhost:{server.ports['rest']}/health/ready", {"status": "no version to serve"}
    for headers, more in (({}, {}), ({"Authorization": f"Bearer {TOKEN}"}, {"models": ["encoder: no version"]})):
        response = requests.get(url, headers=headers, verify=verify)
        assert (response.status_code, response.json()) == (503, {**answer, **more})


def test_pages_of_other_origins_are_not_answered(server):
    scheme, verify = ("https", server.allowed.certificate) if server.allowed.certificate else ("http", None)
    url = f"{scheme}://localhost:{server.ports['rest']}/v1/models/half:predict"
    for origin, is_allowed in (("https://example.org", True), ("https://example.com", False)):
        headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        asked = requests.options(url, headers=headers, verify=verify)
        assert (asked.status_code == 200) == is_allowed
        headers = {"Origin": origin, "Authorization": f"Bearer {TOKEN}"}
        answer = requests.post(url, json={"instances": [1.0]}, headers=headers, verify=verify)
        assert (answer.headers.get("Access-Control-Allow-Origin") == origin) == is_allowed


def test_without_origins_no_page_is_answered(served):
    answer = requests.get(running.url(served, "/v1/models/half"), headers={"Origin": "https://example.org"})
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize("which", ["none", "certificate", "other", "swapped", "text", "password"])
def test_files_that_are_no_pair(pair, tmp_path, which):
    (tmp_path / "text.pem").write_text("no certificate")
    certificate, key = pair
    made = {
        "none": (tmp_path / "none.pem", key),
        "certificate": (certificate, None),
        "other": (certificate, tmp_path / "other.pem"),
        "swapped": (key, certificate),
        "text": (tmp_path / "text.pem", key),
        "password": (certificate, tmp_path / "locked.pem"),
    }[which]
    for name, options in (("other", []), ("locked", ["-aes256", "-pass", "pass:word"])):
        command = ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1", *options]
        subprocess.run([*command, "-out", tmp_path / f"{name}.pem"], check=True, capture_output=True)
    with pytest.raises(ValueError, match="^Access: expected "):
        access.Access(*made)


@pytest.mark.parametrize(
    "token", ["", "short", "x" * 15, "ä" * 20, " with blanks around it ", "with a line\nmore than that"]
)
def test_tokens_that_are_none(token):
    with pytest.raises(ValueError, match="^Access: expected a token of 16 or more ASCII characters") as caught:
        access.Access(token=token)
    assert not token or token not in str(caught.value)
    assert TOKEN not in repr(access.Access(token=TOKEN))


@pytest.mark.parametrize("origin", ["", "example.org", "https://example.org/", "https://Example.org", "https://*.a b"])
def test_origins_that_no_browser_sends(origin):
    with pytest.raises(ValueError, match="^Access: expected an origin such as https://example.org, in lower case"):
        access.Access(origins=("https://a.org:8080", origin))


@pytest.mark.parametrize(
    ("host", "is_local"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("localhost", True)]
    + [("0.0.0.0", False), ("::", False), ("192.168.0.1", False), ("example.org", False)],
)
def test_what_others_reach_is_warned_of(host, is_local):
    assert access.Access().missing(host) == ([] if is_local else ["TLS", "a token"])
    assert access.Access(token=TOKEN).missing(host) == ([] if is_local else ["TLS"])


def test_the_program_has_flags_for_it(deployed, pair, tmp_path):
    (tmp_path / "token.txt").write_text(f"{TOKEN}\n")
    flags = [f"--tls_certificate={pair[0]}", f"--tls_key={pair[1]}", f"--token_file={tmp_path / 'token.txt'}"]
    flags += [f"--model={deployed / 'half'}", "--cors_origins=https://a.org,https://b.org"]
    with running.process(*flags, folder=tmp_path) as (_, ports):
        place, headers = f"https://localhost:{ports['rest']}", {"Authorization": f"Bearer {TOKEN}"}
        headers["Origin"] = "https://b.org"
        assert requests.get(f"{place}/v1/models/half", verify=pair[0]).status_code == 401
        answer = requests.get(f"{place}/v1/models/half", headers=headers, verify=pair[0])
        assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (200, "https://b.org")
        options = {"certificate": pair[0], "retries": 0}
        with client.Client(f"grpcs://localhost:{ports['grpc']}", "half", token=TOKEN, **options) as half:
            assert half.wait(5)


def test_the_warning_is_logged(deployed, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("zoo.serving"), "propagate", True)
    models = (repository.Model("half", deployed / "half"),)
    for host, words in (("127.0.0.1", []), ("0.0.0.0", ["without TLS and a token"])):
        caplog.clear()
        with caplog.at_level("WARNING", "zoo.serving"), running.running(models, host=host):
            pass
        warned = [record.getMessage() for record in caplog.records if "other machines" in record.getMessage()]
        assert len(warned) == len(words)
        assert all(word in line for word, line in zip(words, warned, strict=True))
