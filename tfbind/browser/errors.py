"""What a request for a part of a track may end in, beside a name that is not known."""

from __future__ import annotations

from tfbind.core.errors import InputError


class RegionTooLargeError(InputError):
    """More of the genome than is rendered at once."""


class RunError(InputError):
    """The run lacks what rendering needs, or holds what does not belong together."""

    @classmethod
    def of(cls, error: InputError) -> RunError:
        """The same, said of the run."""
        where = {name: getattr(error, name) for name in ("file", "row", "column", "key")}
        return cls(error.problem, mend=error.mend, **where)
