"""An answer that is not what was asked for: its HTTP status and what to say."""

from __future__ import annotations

import json
from typing import final

from lamina.schema.printable import printable


@final
class Refused(Exception):
    """`status` is HTTP's; `message` says every mistake, a line each; `retry_after` is in seconds, for a server that is busy.

    With `close`, the connection is closed after it.
    """

    def __init__(self, status: int, message: str, retry_after: int | None = None, close: bool = False) -> None:
        self.status, self.message, self.retry_after = status, printable(message), retry_after
        self.close = close or status == 413  # the rest of a body is not read
        super().__init__(self.message)

    @property
    def headers(self) -> dict[str, str]:
        """What the answer says beside its body."""
        found = {"content-type": "application/json"}
        if self.retry_after is not None:
            found["retry-after"] = str(self.retry_after)
        if self.status == 401:
            found["www-authenticate"] = "Bearer"
        if self.close:
            found["connection"] = "close"
        return found

    def body(self, path: str) -> bytes:
        """The error as clients of this path expect it: OpenAI's, or the Open Inference Protocol's."""
        return json.dumps({"error": self.openai if path.startswith("/v1/") else self.message}).encode()

    @property
    def openai(self) -> dict[str, str | None]:
        """The error as an object of OpenAI's."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {"message": self.message, "type": kind, "param": None, "code": None}
