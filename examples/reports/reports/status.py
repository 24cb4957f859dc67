"""The status of a report, as a web page asks for it every second."""

from reports.celeryapp import app
from reports.models import Progress, Report, Status


def status_of(task_id: str) -> Status:
    """Where the report is; one read of the result backend, so that state and progress belong together.

    Raises:
        pydantic.ValidationError: A task returned something that is no report.
    """
    meta = app.backend.get_task_meta(task_id)
    state, info = meta["status"], meta["result"]
    return Status(
        id=task_id,
        state=state,
        progress=Progress.model_validate(info) if state == "PROGRESS" else None,
        report=Report.model_validate(info) if state == "SUCCESS" else None,
        error=str(info) if state in {"RETRY", "FAILURE"} else None,
    )
