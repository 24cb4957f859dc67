"""What an exploration can do with a real worker: deliver again what is done."""

from __future__ import annotations

import process_app as plant
import pytest

from pytest_taskharness import Harness
from pytest_taskharness.errors import FidelityError

pytestmark = pytest.mark.usefixtures("redis_server")


@pytest.fixture
def harness(clock):
    with Harness.open(plant.app, mode="redis+process", clock=clock) as harness:
        yield harness


def test_the_second_delivery_of_a_real_worker(harness, tmp_path):
    path = tmp_path / "lines"
    asked = {"observe": lambda: path.exists() and path.read_text(), "plans": "sequence"}

    assert harness.assert_idempotent(plant.write_line.s(str(path)), **asked) == ["once", "again"]

    path.unlink()
    reset = {"reset": lambda: path.unlink(missing_ok=True)}
    with pytest.raises(AssertionError) as caught:
        harness.assert_idempotent(plant.append_line.s(str(path)), **asked, **reset)
    assert "observe(): expected 'line\\n', as after one clean run; found 'line\\nline\\n'" in str(caught.value)


def test_a_real_worker_cannot_be_stopped_at_a_line(harness, tmp_path):
    with pytest.raises(FidelityError, match="plans='sequence'"):
        harness.assert_idempotent(plant.add.s(1, 2), observe=lambda: None)
    with pytest.raises(FidelityError, match="mode='memory'"):
        harness.assert_delivery(plant.add.s(1, 2), "at_least_once")
