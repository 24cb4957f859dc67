"""Canvases in eager mode: what a user sees at the end is what he sees with a worker."""

from __future__ import annotations

import pytest
from parity_scenario import load
from parity_trace import play

# Where on_failure raises, or an errback does, Celery warns in the worker's own process, which is ours.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Exception raised outside body:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::pytest_taskharness.errors.LossyRoundTrip"),
]
THEMES = {"canvas", "chords", "links", "nested", "replacing", "signatures", "stamps", "trees"}


def scenarios():
    found = load()
    chosen = [name for name in found if name.partition(".")[0] in THEMES]
    return [pytest.param(found[name], id=name) for name in chosen]


@pytest.mark.parametrize("scenario", scenarios())
def test_a_canvas_gives_in_eager_mode_what_it_gives_in_memory(scenario, log):
    assert play(scenario, "eager")[0] == play(scenario, "memory")[0]
