"""The command line. Each command is one file beside this one; what it needs is imported when it runs."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from typing import Annotated

import typer


def _print_version(wanted: bool) -> None:
    if wanted:
        from lamina import __version__

        print(__version__)
        raise typer.Exit


Version = Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)]


def _common(version: Version = False) -> None:
    """One YAML file in; verified ONNX files, TensorRT engines and PyTorch modules out."""


def app() -> typer.Typer:
    """The application, with a command for each module in this package that does not start with an underscore."""
    found = typer.Typer(rich_markup_mode=None, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
    found.callback()(_common)
    for module in sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")):
        found.command(module.removesuffix("_command"))(importlib.import_module(f"{__name__}.{module}").command)
    return found


def main() -> None:
    """Run, and turn every exception into a message and an exit code: 1 the input, 2 the machine, 3 a bug of ours."""
    from lamina.cli._errors import report

    command = typer.main.get_command(app())
    try:  # not `command()`, which has its own ends for interrupts and closed pipes
        with command.make_context("lamina", sys.argv[1:]) as context:
            command.invoke(context)
    except typer.Exit as wanted:
        sys.exit(wanted.exit_code)
    except BaseException as error:
        sys.exit(report(error))
    sys.exit(0)
