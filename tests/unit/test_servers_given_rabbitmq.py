"""The URL of a RabbitMQ that runs: what is refused before anything is connected to, and who is too old."""

from __future__ import annotations

import socket
import threading

import pytest
from amqp.serialization import dumps

from pytest_taskharness.errors import ConfigurationError, ServerError
from pytest_taskharness.servers import given_rabbitmq
from pytest_taskharness.servers.given_rabbitmq import GivenRabbitMQ

SOURCE = "--taskharness-rabbitmq-url"


@pytest.fixture
def asked(monkeypatch):
    """The URLs that were connected to."""
    urls = []
    monkeypatch.setattr(given_rabbitmq, "ask", lambda url, where: urls.append(url) or "RabbitMQ 4.1.0")
    return urls


def refused(url, error=ConfigurationError, **allowed):
    with pytest.raises(error) as caught:
        GivenRabbitMQ(url, SOURCE, **allowed).check()
    return str(caught.value)


# -- the form


@pytest.mark.parametrize("url", ["redis://localhost", "localhost:5672", "http://h:15672", "memory://"])
def test_another_scheme_is_refused(url):
    assert refused(url) == f"{SOURCE} takes the URL of a RabbitMQ: amqp://, amqps://, pyamqp://; given: {url!r}"


@pytest.mark.parametrize("url", ["amqp://u:pa/ss@h//", "amqp://h:port//", "amqp://[::1//"])
def test_what_is_no_url_is_refused_without_showing_a_password(url):
    text = refused(url)

    assert text.startswith(f"{SOURCE} takes a URL, such as amqp://user:password@127.0.0.1:5672//; given: ")
    assert "pa/ss" not in text


def test_a_host_elsewhere_is_refused_before_anything_is_connected_to(asked):
    text = refused("amqp://u:secret@203.0.113.7//")

    assert text.startswith(
        f"expected a RabbitMQ on this machine; amqp://***@203.0.113.7// ({SOURCE}) is at 203.0.113.7, "
        "and could be one that somebody needs.\nWays out:\n  - a server on 127.0.0.1 or ::1\n"
    )
    assert asked == []


def test_a_host_elsewhere_is_connected_to_where_that_is_allowed(asked):
    assert GivenRabbitMQ("amqp://203.0.113.7//", SOURCE, allow_remote=True).check() == "RabbitMQ 4.1.0"
    assert asked == ["amqp://203.0.113.7//"]


# -- who answers


class Server:
    """Answers the first words of one client as a server of some version does, and no more."""

    def __init__(self, properties):
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"amqp://u:secret@127.0.0.1:{self._listening.getsockname()[1]}//"
        self._properties = properties
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        with self._listening, self._listening.accept()[0] as client:
            client.recv(8)
            self._say(client, 10, dumps("ooFSS", [0, 9, self._properties, "PLAIN AMQPLAIN", "en_US"]))
            self._read(client)
            self._say(client, 30, dumps("BlB", [10, 131072, 0]))
            self._read(client, 2)
            self._say(client, 41, dumps("s", [""]))
            self._read(client)
            self._say(client, 51, b"")

    @staticmethod
    def _say(client, method, arguments):
        payload = (10).to_bytes(2, "big") + method.to_bytes(2, "big") + arguments
        client.sendall(b"\x01\x00\x00" + len(payload).to_bytes(4, "big") + payload + b"\xce")

    @staticmethod
    def _read(client, frames=1):
        for _ in range(frames):
            header = client.recv(7, socket.MSG_WAITALL)
            client.recv(int.from_bytes(header[3:7], "big") + 1, socket.MSG_WAITALL)

    def close(self):
        self._thread.join(20)


@pytest.fixture
def server():
    """``server(version=…)``: one that says so."""
    started = []

    def start(**properties):
        started.append(Server(properties))
        return started[-1].url

    yield start
    for each in started:
        each.close()


@pytest.mark.parametrize("version", ["3.8.0", "3.10.8", "4.1.0-rc.1"])
def test_a_version_that_is_new_enough_is_taken(server, version):
    assert GivenRabbitMQ(server(product="RabbitMQ", version=version), SOURCE).check() == f"RabbitMQ {version}"


def test_a_version_that_is_too_old_is_refused(server):
    url = server(product="RabbitMQ", version="3.7.28")

    text = refused(url, ServerError)

    shown = url.replace("u:secret", "***")
    assert text.startswith(f"expected RabbitMQ 3.8 or newer at {shown} ({SOURCE}); found instead: RabbitMQ 3.7.28.\n")


def test_others_that_speak_amqp_are_taken_as_they_are(server):
    assert GivenRabbitMQ(server(product="Somebody's", version="0.1"), SOURCE).check() == "Somebody's 0.1"


def test_who_speaks_something_else_is_not_taken_for_one(monkeypatch):
    monkeypatch.setattr(given_rabbitmq, "PATIENCE", 5)
    listening = socket.create_server(("127.0.0.1", 0))

    def serve():
        with listening, listening.accept()[0] as client:
            client.recv(8)
            client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    text = refused(f"amqp://u:secret@127.0.0.1:{listening.getsockname()[1]}//", ServerError)
    thread.join(20)

    assert text.startswith("expected a RabbitMQ at amqp://***@127.0.0.1:")
    assert "secret" not in text


def test_nobody_at_home_is_said_at_once():
    with socket.socket() as bound:  # bound and not listening: nobody else can have the port
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]

        assert refused(f"amqp://127.0.0.1:{port}//", ServerError).startswith(
            f"expected a RabbitMQ at amqp://127.0.0.1:{port}// ({SOURCE}); found instead: ConnectionRefusedError: "
        )


def test_somebody_who_says_nothing_is_not_waited_for_for_ever(monkeypatch):
    monkeypatch.setattr(given_rabbitmq, "PATIENCE", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert "imed out" in refused(f"amqp://127.0.0.1:{silent.getsockname()[1]}//", ServerError)
