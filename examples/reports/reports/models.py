"""What crosses the wire, validated."""

from typing import Literal

from pydantic import BaseModel, Field

Format = Literal["pdf", "csv"]


class Report(BaseModel):
    """A finished report: what ``build_report`` returns."""

    customer_id: int
    month: str = Field(pattern=r"^\d{4}-\d{2}$")
    fmt: Format
    rows: int = Field(ge=0)
    path: str


class Progress(BaseModel):
    """How far an unfinished report is."""

    done: int = Field(ge=0)
    total: int = Field(gt=0)


class Status(BaseModel):
    """What ``GET /reports/<task_id>`` answers."""

    id: str
    state: str
    progress: Progress | None = None
    report: Report | None = None
    error: str | None = None
