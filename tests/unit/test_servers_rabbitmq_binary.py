"""Which RabbitMQ would be started, and what is said where there is none."""

from __future__ import annotations

import pytest

from pytest_taskharness.servers import rabbitmq_binary
from pytest_taskharness.servers.binary import Binary
from pytest_taskharness.servers.rabbitmq_binary import WAYS_OUT, find_rabbitmq, nothing_found, without_plugins


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine without RabbitMQ; ``machine(path)`` puts a file there."""
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")
    monkeypatch.setattr(rabbitmq_binary, "PLACES", (f"{tmp_path}/lib/bin", f"{tmp_path}/brew/sbin"))

    def put(path, mode=0o755):
        program = tmp_path / path
        program.parent.mkdir(parents=True, exist_ok=True)
        program.touch(mode)
        return program

    return put


@pytest.fixture
def packed(machine):
    """``packed(home)``: a RabbitMQ as it is packed; the path of its program."""

    def pack(home, plugins=("rabbit-3.10.8/ebin", "ra-2.2.0/ebin")):
        machine(f"{home}/sbin/rabbitmq-env")
        for plugin in plugins:
            machine(f"{home}/plugins/{plugin}/one.app")
        return machine(f"{home}/sbin/rabbitmq-server")

    return pack


def linked(place, program):
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(program)


def test_a_link_on_path_leads_to_the_program(packed, tmp_path):
    program = packed("cellar")
    linked(tmp_path / "bin/rabbitmq-server", program)

    assert find_rabbitmq() == Binary(str(program), "on PATH")


def test_what_packages_put_in_front_of_it_is_passed_over(machine, packed, tmp_path):
    machine("bin/rabbitmq-server")  # changes to the user rabbitmq
    program = packed("lib/lib/rabbitmq_server-3.10.8")
    linked(tmp_path / "lib/bin/rabbitmq-server", program)

    assert find_rabbitmq() == Binary(str(program), f"in {tmp_path}/lib/bin")


def test_a_wrapper_beside_the_program_is_passed_over_too(machine, packed, tmp_path):
    wrapper = machine("lib/bin/rabbitmq-script-wrapper")
    machine("lib/bin/rabbitmq-env")
    linked(tmp_path / "bin/rabbitmq-server", wrapper)
    program = packed("brew")

    assert find_rabbitmq() == Binary(str(program), f"in {tmp_path}/brew/sbin")


def test_a_file_that_is_not_executable_is_no_server(packed):
    packed("brew").chmod(0o644)

    assert find_rabbitmq() is None


def test_where_there_is_none_it_says_where_it_looked(machine, tmp_path):
    assert find_rabbitmq() is None
    assert nothing_found() == (
        "expected a RabbitMQ to start; there is none. Looked for:\n"
        f"  - rabbitmq-server on PATH ({tmp_path}/bin)\n"
        f"  - rabbitmq-server in {tmp_path}/lib/bin, {tmp_path}/brew/sbin\n"
        f"{WAYS_OUT}"
    )


def test_the_ways_out_are_all_named():
    for way in ("apt install", "brew install", "--taskharness-rabbitmq-url=", "mode memory"):
        assert way in WAYS_OUT


# -- without the plugins


PLUGINS = (
    "rabbit-4.1.0/x",
    "rabbitmq_prelaunch-4.1.0/x",
    "rabbitmq_management-4.1.0/x",
    "ra-2.2.0/x",
    "cowboy-2.8.0/x",
)


def test_its_own_code_is_linked_and_its_plugins_are_not(machine, packed, tmp_path):
    program = packed("home", plugins=PLUGINS)
    machine("home/escript/rabbitmqctl")
    (tmp_path / "own").mkdir()

    env = without_plugins(Binary(str(program), "on PATH"), tmp_path / "own")

    slim = tmp_path / "own/home"
    assert env == {"RABBITMQ_SCRIPTS_DIR": f"{slim}/sbin"}
    assert {path.name for path in slim.iterdir()} == {"escript", "plugins", "sbin"}
    assert {path.name for path in (slim / "plugins").iterdir()} == {
        "cowboy-2.8.0", "ra-2.2.0", "rabbit-4.1.0", "rabbitmq_prelaunch-4.1.0"
    }  # fmt: skip
    assert (slim / "sbin/rabbitmq-server").samefile(program)


def test_what_is_packed_in_another_way_is_left_as_it_is(machine, tmp_path):
    program = machine("odd/sbin/rabbitmq-server")
    (tmp_path / "own").mkdir()

    assert without_plugins(Binary(str(program), "on PATH"), tmp_path / "own") == {}
