"""Every error that headframe raises on purpose.

HeadframeError
├── InputError                 bad input: the command line exits 2
│   ├── MissingFileError       (also FileNotFoundError)
│   ├── FormatError            a file is not what it should be (also ValueError)
│   ├── UnsafeFileError        a file that could do harm: entities, bombs, escapes (also ValueError)
│   ├── CrsError               no CRS, or one that cannot be used (also ValueError)
│   ├── GridMismatchError      arrays or rasters that do not share a grid (also ValueError)
│   ├── BandError              a band is missing, doubled or unknown (also LookupError)
│   ├── UnitError              pixel values cannot be in the unit asked for (also ValueError)
│   ├── GeometryError          a geometry that cannot be used (also ValueError)
│   ├── SiteError              sites of images and polygons do not meet (also LookupError)
│   ├── DatasetError           a data set breaks its rules (also ValueError)
│   ├── RecipeError            a recipe cannot be followed (also ValueError)
│   ├── UnknownNameError       a name that no registry holds (also LookupError)
│   ├── BundleError            a model bundle is incomplete or corrupted (also ValueError)
│   └── OutputError            the output cannot be written (also OSError)
└── JobError                   the work itself failed: exits 1 (also RuntimeError)
    └── MissingExtraError      an optional package is not installed (also ImportError)

A message names the file, the offending value and the remedy, in one line.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class HeadframeError(Exception):
    """Root of the tree."""

    exit_code = 1


class InputError(HeadframeError):
    """What the caller gave cannot be used."""

    exit_code = 2


class MissingFileError(InputError, FileNotFoundError):
    """A file or folder does not exist."""


class FormatError(InputError, ValueError):
    """A file cannot be read as the format it should have."""


class UnsafeFileError(InputError, ValueError):
    """A file tries something a stranger's file must not do."""


class CrsError(InputError, ValueError):
    """A coordinate reference system is missing or cannot be used."""


class GridMismatchError(InputError, ValueError):
    """Arrays or rasters that must share a grid do not."""


class BandError(InputError, LookupError):
    """A band is missing, doubled or cannot be told."""


class UnitError(InputError, ValueError):
    """Pixel values cannot be in the unit that is needed."""


class GeometryError(InputError, ValueError):
    """A geometry is empty, degenerate or beyond repair."""


class SiteError(InputError, LookupError):
    """Sites named by images and by polygons do not meet."""


class DatasetError(InputError, ValueError):
    """A data set breaks one of its rules."""


class RecipeError(InputError, ValueError):
    """A recipe cannot be followed."""


class UnknownNameError(InputError, LookupError):
    """A name that a registry does not hold."""

    @classmethod
    def of(cls, kind: str, name: str, known: Iterable[str]) -> "UnknownNameError":
        """Build the error for ``name``, naming the three closest of ``known``."""
        names = sorted(known)
        close = get_close_matches(name, names, n=3, cutoff=0.0)
        return cls(f"unknown {kind} {name!r}; closest: {', '.join(close) or 'none'}.")


class BundleError(InputError, ValueError):
    """A model bundle is incomplete or corrupted."""


class OutputError(InputError, OSError):
    """The output place cannot be written (full disk, no permission, wrong kind)."""


class JobError(HeadframeError, RuntimeError):
    """The work itself failed."""


class MissingExtraError(JobError, ImportError):
    """An optional package is not installed."""
