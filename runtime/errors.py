"""What can go wrong when a bundle runs, by who can mend it."""

from lamina.schema.printable import printable


class _Said(Exception):
    """A message that may quote what others wrote, without what a terminal would take for commands."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class BundleError(_Said):
    """The bundle is damaged, hostile, or not one that this version reads."""


class InputError(_Said):
    """An input is not what the bundle declares: its name, dtype, shape, values or file."""


class BackendMissing(_Said):
    """The machine lacks what the backend needs: a library, a version of it, a provider or a GPU."""
