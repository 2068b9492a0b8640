"""A bundle's decoder."""

from __future__ import annotations

from lamina.runtime.errors import BundleError
from lamina.runtime.generation.steps import Steps
from lamina.runtime.session import Session


def steps_of(session: Session) -> Steps:
    """The session's model as a decoder. BundleError if it carries nothing from call to call."""
    raise BundleError(f"{session.folder} carries no state from one call to the next, so no text can be generated from it token by token")
