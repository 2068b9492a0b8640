"""Logs: a JSON object on each line of stderr."""

from __future__ import annotations

import json
import logging
import time
from typing import final

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


@final
class JsonFormatter(logging.Formatter):
    """`time` (UTC), `level`, `logger`, `message`, what was given as `extra`, and `error` with a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry = {"time": f"{when}.{int(record.msecs):03d}Z", "level": record.levelname.lower(), "logger": record.name}
        entry |= {"message": record.getMessage()} | {key: value for key, value in vars(record).items() if key not in _OWN}
        if record.exc_info:
            entry["error"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def log_as_json() -> None:
    """Let this process log so. Libraries speak from warnings on, uvicorn and the server from info on."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for name in ("uvicorn", "lamina.serve"):
        logging.getLogger(name).setLevel(logging.INFO)
