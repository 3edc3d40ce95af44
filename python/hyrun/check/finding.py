"""One thing that is wrong with a store, and how it can be mended."""

from __future__ import annotations

from collections.abc import Callable, Sequence

#: Mends what was found and returns what was done, in a few words; None when it is not there any more.
Mend = Callable[[], "str | None"]


class Finding:
    """What is wrong with one object.

    ``kind`` is a short word for programs (``layer-damaged``), ``name`` the object, ``problem`` a sentence without
    its subject. ``harmless`` things cost room and nothing else. ``images`` and ``containers`` are the names of those
    that are affected. ``mend`` heals it (None: nothing can without the network or the person), ``advice`` is what to
    type for the rest, empty when mending is all. ``done`` is what was done about it.
    """

    __slots__ = ("advice", "containers", "done", "harmless", "images", "kind", "mend", "name", "problem")

    def __init__(
        self,
        kind: str,
        name: str,
        problem: str,
        *,
        harmless: bool = False,
        images: Sequence[str] = (),
        containers: Sequence[str] = (),
        mend: Mend | None = None,
        advice: str = "",
    ) -> None:
        self.kind = kind
        self.name = name
        self.problem = problem
        self.harmless = harmless
        self.images = list(images)
        self.containers = list(containers)
        self.mend = mend
        self.advice = advice
        self.done = ""

    @property
    def healed(self) -> bool:
        """Whether nothing is left to do."""
        return bool(self.done) and not self.advice

    @property
    def subject(self) -> str:
        """The kind of the object: the first word of ``kind``."""
        return self.kind.partition("-")[0]

    def view(self) -> dict[str, object]:
        """Return it for ``--format``."""
        return {
            "Kind": self.kind,
            "Object": self.subject,
            "Name": self.name,
            "Problem": self.problem,
            "Harmless": self.harmless,
            "Images": self.images,
            "Containers": self.containers,
            "Repaired": self.done,
            "Advice": self.advice,
        }
