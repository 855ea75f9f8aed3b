"""The errors that kdopt raises on purpose.

Each message names the value, the rule it breaks and the fix. The command line turns a
:class:`KdoptError` into that message and exit code 2; any other exception is a bug and keeps its
traceback.
"""

PROBLEMS_SHOWN = 15
"""Of a file: as many as fit on a page."""


class KdoptError(Exception):
    """Something the user can fix: bad input, a missing file, a store that does not fit."""


class InputError(KdoptError, ValueError):
    """What a Python call was given and cannot work with: models, data, names, options."""


class SpecError(KdoptError):
    """A campaign file that cannot be used; carries every problem of the file, not only the first.

    The message shows :data:`PROBLEMS_SHOWN` of them.

    Args:
        source: The file the problems are in.
        problems: One line per problem.
    """

    def __init__(self, source: str, problems: list[str]) -> None:
        self.problems = problems
        count = f"{len(problems)} problem" + ("s" if len(problems) > 1 else "")
        lines = [f"  - {problem}" for problem in problems[:PROBLEMS_SHOWN]]
        if len(problems) > PROBLEMS_SHOWN:
            lines.append(f"  ... and {len(problems) - PROBLEMS_SHOWN} more; fix these first")
        super().__init__("\n".join([f"{source}: {count}", *lines]))


class DataError(KdoptError):
    """A data set that is missing, damaged or of another shape than stated."""


class PartitionError(KdoptError):
    """A partition that cannot be drawn from the given labels under the given settings."""


class StoreError(KdoptError):
    """A store that cannot be opened, read or written, or that is of another version."""


class ArtifactError(KdoptError):
    """A checkpoint or split that is missing, or whose content is not what the store recorded."""


class LostArtifactError(ArtifactError):
    """An artifact that is not there any more, or altered: trying again cannot help."""


class AdviceError(KdoptError):
    """The store has too little to advise from, or the question leaves too little to go by."""


class ComparisonError(KdoptError):
    """Campaigns that cannot be shown side by side."""


class LeaseLostError(KdoptError):
    """This worker no longer owns the trial: its lease lapsed and another worker may have it."""


class TrialGoneError(LeaseLostError):
    """The trial is not in the store any more: its study was deleted."""
