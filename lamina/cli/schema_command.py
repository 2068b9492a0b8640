"""lamina schema"""

from __future__ import annotations


def command() -> None:
    """Print the JSON Schema of spec files.

    Editors complete ops and their arguments from it, and show their documentation.
    """
    import json

    from lamina.compiler.json_schema import spec_schema

    print(json.dumps(spec_schema(), indent=1))
