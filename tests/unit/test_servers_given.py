"""The URL of a Redis that runs: what is refused before anything is connected to, and what texts show of it."""

from __future__ import annotations

import socket

import pytest

from pytest_taskharness.errors import ConfigurationError, ServerError
from pytest_taskharness.servers.given import GivenURL, masked

SOURCE = "--taskharness-redis-url"


@pytest.fixture
def hosts(monkeypatch):
    """Where each host is."""
    known = {}

    def resolve(host, port, **kwargs):
        if host not in known:
            raise socket.gaierror(-2, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in known[host]]

    monkeypatch.setattr("socket.getaddrinfo", resolve)
    return known


@pytest.fixture
def connected(monkeypatch):
    """The URLs that were connected to, as redis-py takes them."""
    urls = []
    monkeypatch.setattr(GivenURL, "_ask", lambda self: urls.append(self.for_redis_py()))
    return urls


def refused(url, error=ConfigurationError, **allowed):
    with pytest.raises(error) as caught:
        GivenURL(url, SOURCE, **allowed).check()
    return str(caught.value)


# -- the password


@pytest.mark.parametrize(
    "url, shown",
    [
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("redis://:secret@127.0.0.1/0", "redis://***@127.0.0.1/0"),
        ("rediss://me:secret@h:1/0?ssl_cert_reqs=none", "rediss://***@h:1/0?ssl_cert_reqs=none"),
        ("redis://:sec@ret@h/0", "redis://***@h/0"),
        ("redis://:sec/ret?#@h/0", "redis://***@h/0"),
        ("redis+socket://:secret@/run/s?virtual_host=1", "redis+socket://***@/run/s?virtual_host=1"),
        ("redis://h/0?password=secret&db=1", "redis://h/0?password=***&db=1"),
        ("redis://h/0?db=1&password=secret", "redis://h/0?db=1&password=***"),
    ],
)
def test_a_password_is_never_shown(url, shown):
    assert masked(url) == shown
    assert str(GivenURL(url, SOURCE)) == f"{shown} ({SOURCE})"


# -- the form


@pytest.mark.parametrize(
    "url", ["amqp://localhost", "localhost:6379", "unix:///run/redis.sock", "http://h", "sentinel://h"]
)
def test_another_scheme_is_refused(url):
    assert refused(url) == (
        f"{SOURCE} takes the URL of a Redis: redis://, rediss://, redis+socket://; given: {masked(url)!r}"
    )


@pytest.mark.parametrize("url", ["redis://:pa/ss@h/0", "redis://h:port/0", "redis://h:99999/0", "redis://[::1/0"])
def test_what_is_no_url_is_refused_without_showing_a_password(url):
    assert refused(url) == (
        f"{SOURCE} takes a URL, such as redis://:password@127.0.0.1:6379/15; given: {masked(url)!r}\n"
        "Special characters of a password are written as %40, %2F, … (urllib.parse.quote)."
    )


@pytest.mark.parametrize(
    "url, database",
    [
        ("redis://127.0.0.1/shop", "shop"),
        ("redis://127.0.0.1/0/1", "0/1"),
        ("redis://127.0.0.1/-1", "-1"),
        ("redis+socket:///run/redis.sock?virtual_host=shop", "shop"),
    ],
)
def test_a_database_that_is_no_number_is_refused(url, database):
    assert refused(url) == (
        f"{SOURCE} takes the number of a database, such as redis://127.0.0.1:6379/15; given: {database!r} in {url!r}"
    )


# -- where it is


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["::1"], ["::1", "127.0.0.53"]])
def test_a_host_on_this_machine_is_connected_to(hosts, connected, addresses):
    hosts["cache"] = addresses

    GivenURL("redis://cache:7000/3", SOURCE).check()

    assert connected == ["redis://cache:7000/3"]


@pytest.mark.parametrize("addresses", [["10.0.0.7"], ["127.0.0.1", "10.0.0.7"], ["fe80::1%eth0"], ["2001:db8::1"]])
def test_a_host_elsewhere_is_refused_before_anything_is_connected_to(hosts, connected, addresses):
    hosts["cache"] = addresses

    shown = ", ".join(address.partition("%")[0] for address in sorted(addresses))
    assert refused("redis://:secret@cache/0") == (
        f"expected a Redis on this machine; redis://***@cache/0 ({SOURCE}) is at {shown}, "
        "and could be one that somebody needs.\n"
        "Ways out:\n"
        "  - a server on 127.0.0.1, ::1 or a unix socket\n"
        "  - no URL: the harness starts a server of its own\n"
        "  - --taskharness-allow-remote (ini: taskharness_allow_remote = true), where it is there for tests, as a "
        "service container of CI is"
    )
    assert connected == []


def test_a_host_elsewhere_is_connected_to_where_that_is_allowed(hosts, connected):
    hosts["cache"] = ["10.0.0.7"]

    GivenURL("redis://cache/0", SOURCE, allow_remote=True).check()

    assert connected == ["redis://cache/0"]


def test_a_host_that_does_not_exist_is_named(hosts):
    text = refused("redis://:secret@cache/0", ServerError)

    assert text == (
        f"expected a Redis at redis://***@cache/0 ({SOURCE}); found instead: gaierror: [Errno -2] Name or service not "
        "known\nWays out:\n"
        "  - start that server, or correct the host, the port, the database or the password in the URL\n"
        "  - no URL: the harness starts a server of its own"
    )


@pytest.mark.parametrize(
    "celerys, redis_pys",
    [
        ("redis+socket:///run/redis.sock?virtual_host=3", "unix:///run/redis.sock?db=3"),
        ("redis+socket://:secret@/run/redis.sock?virtual_host=/3", "unix://:secret@/run/redis.sock?db=3"),
        ("redis+socket:///run/redis.sock", "unix:///run/redis.sock?db=0"),
        ("rediss:///0?ssl_cert_reqs=CERT_NONE", "rediss:///0?ssl_cert_reqs=none"),
        ("rediss:///0?ssl_cert_reqs=required", "rediss:///0?ssl_cert_reqs=required"),
        ("redis://", "redis://"),
    ],
)
def test_what_celery_and_redis_py_write_differently_is_translated(connected, celerys, redis_pys):
    GivenURL(celerys, SOURCE).check()

    assert connected == [redis_pys]
