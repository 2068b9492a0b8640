"""What can go wrong when a bundle runs, by who can mend it."""


class BundleError(Exception):
    """The bundle is damaged, hostile, or not one that this version reads."""


class InputError(Exception):
    """An input is not what the bundle declares: its name, dtype, shape, values or file."""


class BackendMissing(Exception):
    """The machine lacks what the backend needs: a library, a version of it, a provider or a GPU."""
