"""What tests of the web export share: npm's modules, Node, a file server and Chromium."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
NODE = "onnxruntime-node@1.30.0"
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip
needs_npm = pytest.mark.skipif(not (shutil.which("node") and shutil.which("npm")), reason="needs Node.js")
needs_browser = pytest.mark.skipif(
    not (shutil.which("npm") and shutil.which("chromium") and shutil.which("chromedriver")), reason="needs Node.js and Chromium"
)


def stand_ins(folder: Path) -> Path:
    """A folder of modules that are no more than names, for tests of all but the page."""
    from lamina.export.npm import FILES, MODULES

    for source in FILES.values():
        (folder / MODULES / source).parent.mkdir(parents=True, exist_ok=True)
        (folder / MODULES / source).write_text("export {}")
    return folder


def install_modules(folder: Path) -> Path:
    """What a page needs, as pinned, and what Node needs, in a new folder; `lamina export` without --runtime is tried by the documents."""
    from lamina.export.npm import LOCKED

    shutil.copytree(LOCKED, folder)
    command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", NODE]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder / "node_modules"


def ask_node(site: Path, bundle: Path, modules: Path, requests: Sequence[Any]) -> list[Any]:
    """What onnxruntime-node answers, by the modules of an exported page."""
    command = ["node", str(HERE / "ask.mjs"), str(site), str(bundle), str(modules)]
    done = subprocess.run(command, input=json.dumps(requests), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a plain file server over a folder."""
    handler = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *arguments: None})
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless Chromium with a profile of its own."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.binary_location = str(shutil.which("chromium"))
    with tempfile.TemporaryDirectory() as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        driver = webdriver.Chrome(options, webdriver.ChromeService(str(shutil.which("chromedriver"))))
        try:
            yield driver
        finally:
            driver.quit()
