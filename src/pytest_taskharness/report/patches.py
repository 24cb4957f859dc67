"""A note for tests that patch what a worker's process does not see."""

from __future__ import annotations

from collections.abc import Collection, Iterable

__all__ = ["patches"]

TITLE = "taskharness: patches do not reach a worker's process"
#: Fixtures by which people patch: pytest's, and those of pytest-mock.
PATCHING = ("monkeypatch", "mocker", "class_mocker", "module_mocker", "package_mocker", "session_mocker")


def patches(fixtures: Collection[str], modes: Iterable[str]) -> list[tuple[str, str]]:
    """A section for the report of a failed test with these fixtures, on harnesses of these modes."""
    mode = next((mode for mode in modes if mode.endswith("+process")), None)
    used = next((name for name in PATCHING if name in fixtures), None)
    if mode is None or used is None:
        return []
    text = (
        f"this test uses {used}, and in mode {mode} the bodies run in another process, where nothing is patched\n"
        "To fix this, run it on a stepped worker: @pytest.mark.taskharness(mode='memory')"
    )
    return [(TITLE, text)]
