"""Signed messages (``app.setup_security()``): what is not signed by somebody known is never run."""

from __future__ import annotations

import datetime

import pytest
from celery import Celery
from kombu.serialization import registry

from pytest_taskharness import Harness

# Celery before 5.7 asks a certificate for a naive datetime.
pytestmark = pytest.mark.filterwarnings("ignore:Properties that return a na.ve datetime object:UserWarning")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """``certificates(name)``: the paths of a key and of a certificate that were made for this test."""
    directory = tmp_path_factory.mktemp("certificates")

    def make(name):
        key_file, certificate_file = directory / f"{name}.key", directory / f"{name}.pem"
        if not key_file.exists():
            _write(name, key_file, certificate_file)
        return str(key_file), str(certificate_file)

    return make


def _write(name, key_file, certificate_file):
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.x509.oid import NameOID

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder().subject_name(who).issuer_name(who).public_key(key.public_key())
        .serial_number(len(name)).not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=3650)).sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = serialization.Encoding.PEM
    key_file.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    )
    certificate_file.write_bytes(certificate.public_bytes(pem))


@pytest.fixture(autouse=True)
def insecure_afterwards():
    """``setup_security()`` is for the whole process, and for good."""
    names = ("_default_encode", "_default_content_type", "_default_content_encoding")
    before, disabled = {name: getattr(registry, name) for name in names}, set(registry._disabled_content_types)
    yield
    vars(registry).update(before)
    registry._disabled_content_types.clear()
    registry._disabled_content_types.update(disabled)
    if "auth" in registry._encoders:
        registry.unregister("auth")


@pytest.fixture
def secured(certificates):
    """``secured(signer, known)``: an app that signs as one, and takes what another one has signed."""

    def secure(signer, known):
        app = Celery("shop", broker="redis://localhost:1/0", set_as_current=False)
        key, certificate = certificates(signer)
        app.conf.update(
            security_key=key, security_certificate=certificate, security_cert_store=certificates(known)[1],
            task_serializer="auth", event_serializer="auth", accept_content=["auth"], result_serializer="json",
            result_accept_content=["json"],
        )  # fmt: skip
        app.setup_security(allowed_serializers=["json"])

        @app.task(name="shop.add", shared=False)
        def add(x, y):
            return x + y

        return app

    return secure


@pytest.mark.parametrize("mode", ["memory", "eager", "fakeredis", "redis", "rabbitmq"], indirect=True)
def test_a_signed_message_is_run(secured, mode):
    app = secured("us", known="us")
    with Harness.open(app, mode):
        assert app.tasks["shop.add"].delay(1, 2).get() == 3


@pytest.mark.parametrize("mode", ["memory", "fakeredis", "redis", "rabbitmq"], indirect=True)
def test_a_message_that_a_stranger_has_signed_is_poison(secured, mode):
    app = secured("stranger", known="us")
    with Harness.open(app, mode) as harness:
        result = app.tasks["shop.add"].delay(1, 2)
        harness.settle()
        run = harness.run_of(result)
        assert run.attempts == []
        [poison] = [event for event in run.timeline if event.kind == "poison"]
        assert poison.detail["note"].startswith("cannot be decoded: ")
        with pytest.raises(AssertionError, match="hint: cannot be decoded"):
            harness.assert_succeeded(result)


@pytest.mark.parametrize("mode", ["memory", "fakeredis", "redis", "rabbitmq"], indirect=True)
def test_a_message_that_nobody_has_signed_is_refused(secured, mode):
    app = secured("us", known="us")
    with Harness.open(app, mode) as harness:
        result = app.tasks["shop.add"].apply_async((1, 2), serializer="json")
        harness.settle()
        assert harness.run_of(result).attempts == []
        assert [event.kind for event in harness.run_of(result).timeline][-2:] == ["poison", "reject"]
