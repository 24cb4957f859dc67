"""What people bring along from suites with mocks and eager mode: patched methods, ``apply()``."""

from __future__ import annotations

from unittest.mock import patch

import pytest


@pytest.fixture
def noted(app):
    @app.task(name="note")
    def note(text):
        return text

    return note


@pytest.mark.parametrize("method", ["delay", "apply_async"])
def test_a_call_that_a_mock_has_swallowed_is_told(harness, noted, method):
    with patch.object(noted, method):
        getattr(noted, method)("hi")
        with pytest.raises(AssertionError, match=rf"hint: note\.{method} is a MagicMock: .* not published"):
            harness.assert_enqueued(noted.s("hi"))


def test_after_the_patch_nothing_is_said_of_it(harness, noted):
    with patch.object(noted, "delay"):
        noted.delay("hi")
    with pytest.raises(AssertionError) as caught:
        harness.assert_enqueued(noted.s("hi"))
    assert "hint" not in str(caught.value)
