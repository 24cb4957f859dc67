"""Files that are written, found again and moved."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from corpus_case import Topic
from corpus_stores import folder

LINES = ["a\n", "b\n"]
#: What somebody else reads; the leftovers of a crash are nobody's.
READ = ("report", "log", "count", "inbox", "archive", "event 7")


def reset():
    folder.reset(inbox="order", count="1")


def observe():
    return {name: (folder / name).read_text() for name in READ if (folder / name).exists()}


topic = Topic(observe=observe, reset=reset)
right, wrong = topic.right, topic.wrong


@wrong("again", "paid")
def append_line(text):
    """A line for each delivery."""
    with (folder / "log").open("a") as log:
        log.write(f"{text}\n")


@right("paid")
def write_whole(text):
    """The file holds what the message says, and nothing else."""
    (folder / "event 7").write_text(f"{text}\n")


@wrong("crash")
def append_to_part():
    """A part that a dead worker has left is found again, and continued from the beginning."""
    part = folder / "report.part"
    for line in [] if (folder / "report").exists() else LINES:
        with part.open("a") as file:
            file.write(line)
    if part.exists():
        part.replace(folder / "report")


@wrong("together", thread="https://github.com/jswest/bartleby/issues/553")
def one_part_for_all():
    """The part is begun anew; but whoever is at work at the same time has the same one."""
    part = folder / "report.part"
    part.write_text(LINES[0])
    with part.open("a") as file:
        file.write(LINES[1])
    part.replace(folder / "report")


@right()
def own_part():
    """A temporary file with a name of its own, put in its place in one step."""
    descriptor, part = tempfile.mkstemp(dir=folder.path)
    with os.fdopen(descriptor, "w") as file:
        file.writelines(LINES)
    Path(part).replace(folder / "report")


@wrong("crash", thread="https://github.com/lightpohl/podcast-dl/issues/37")
def write_unless_there():
    """Half a report is there too."""
    report = folder / "report"
    if report.exists():
        return
    for line in LINES:
        with report.open("a") as file:
            file.write(line)


@right()
def own_part_unless_there():
    """A report that is there is a whole one."""
    if (folder / "report").exists():
        return
    descriptor, part = tempfile.mkstemp(dir=folder.path)
    for line in LINES:
        os.write(descriptor, line.encode())
    os.close(descriptor)
    Path(part).replace(folder / "report")


@wrong("again", thread="https://github.com/alphagov/notifications-api/pull/2775")
def move():
    """What has been moved is not there for whoever comes second."""
    (folder / "inbox").rename(folder / "archive")


@right()
def move_if_there():
    """What has been moved has been moved."""
    with suppress(FileNotFoundError):
        (folder / "inbox").rename(folder / "archive")


@wrong("again")
def count():
    """A number in a file goes up by one."""
    number = int((folder / "count").read_text())
    (folder / "count").write_text(str(number + 1))


@right("event 7")
def mark(event):
    """Each event has a file, and the files are counted."""
    (folder / event).touch(exist_ok=True)


@wrong("crash")
def claim_by_rename():
    """Whoever gets the file away works on it; if that one dies, it is out of everybody's sight."""
    try:
        claimed = (folder / "inbox").rename(folder / "inbox.claimed")
    except FileNotFoundError:
        return
    (folder / "report").write_text(claimed.read_text())


@right()
def work_then_remove():
    """The input goes away when its output is there."""
    try:
        text = (folder / "inbox").read_text()
    except FileNotFoundError:
        return
    (folder / "report").write_text(text)
    (folder / "inbox").unlink(missing_ok=True)
