"""The whole check, in the order in which one thing explains the next; and the whole repair."""

from __future__ import annotations

from hyrun.errors import HyrunError
from hyrun.garbage import finish_removals
from hyrun.image_store import publishing, recording
from hyrun.locks import lock
from hyrun.progress import Progress
from hyrun.store import Store

from . import containers, layers, leftovers, volumes
from .finding import Finding
from .images import Images


class Report:
    """What a check found. ``complete`` is False when garbage could not be told from what is being loaded."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.complete = True
        self.layers = 0

    @property
    def healthy(self) -> bool:
        """Whether everything works, or works again: what is harmless costs room only."""
        return all(finding.harmless or finding.healed for finding in self.findings)


def check(store: Store, *, repair: bool = False, progress: Progress | None = None) -> Report:
    """Look at everything in the store and, with ``repair``, mend what needs neither network nor person.

    Each layer is a part of ``progress``. A check holds off the removal of layers and
    nothing else. A repair waits until nobody loads or pulls, looks again, and works alone.
    """
    report = Report()
    report.findings += leftovers.find_structure(store)
    try:
        with lock(store, "image", "all", wait=False), recording(store):
            finish_removals(store)
            garbage = list(leftovers.find(store))
    except BlockingIOError:
        garbage = []
        report.complete = False
    images = Images(store)
    with publishing(store):
        with recording(store):
            # Records and tags of one moment: a removal changes several of them.
            report.findings += images.find()
        report.findings += layers.find(store, images, progress or Progress())
    report.findings += containers.find(store)
    report.findings += volumes.find(store)
    report.findings += garbage
    if repair and report.findings:
        _repair(store, report)
    return report


def _repair(store: Store, report: Report) -> None:
    with lock(store, "image", "all"), recording(store):
        for finding in report.findings:
            if finding.mend is None:
                continue
            try:
                done = finding.mend()
                finding.done = done or "it was mended meanwhile"
                if done is None:
                    finding.advice = ""
            except (OSError, HyrunError) as error:
                instead = f", or {finding.advice}" if finding.advice else ""
                finding.advice = f"{error}: make that possible and repair again{instead}"
        leftovers.collect(store)
        left = {finding.name for finding in leftovers.find(store)}
        for finding in report.findings:
            if finding.harmless and finding.mend is None and not finding.advice and finding.name not in left:
                finding.done = "removed"
