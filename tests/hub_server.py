"""A stand-in for the Hub on this machine: as much of its protocol as the real client needs to fetch files."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

INFO = "/api/models/"


@dataclass
class Repository:
    files: dict[str, bytes]
    revisions: dict[str, str] = field(default_factory=lambda: {"main": "1" * 40})
    """Name to commit; a commit also names itself."""
    token: str = ""
    """Who has it may read it; empty for everybody."""
    gated: bool = False
    """The list of files is public, the files are not."""


@dataclass
class Hub:
    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    """Method, path and token of each request."""
    status: int = 0
    """Answer everything with this, if set."""
    stalls: bool = False
    """Accept requests and never answer."""
    commit: Any = None
    """What the list of files says instead of the commit."""
    listed: list[Any] = field(default_factory=list)
    """Further entries of every list of files."""
    headers: dict[str, str] = field(default_factory=dict)
    """Further headers of every file."""
    answer: Callable[[BaseHTTPRequestHandler, str], bool] | None = None
    """Gets a request and its path first; what it does not answer is answered as always."""
    endpoint: str = ""
    released: threading.Event = field(default_factory=threading.Event)

    def requested(self) -> set[str]:
        """The files that were asked for."""
        paths = [path for _, path, _ in self.requests if "/resolve/" in path]
        return {unquote(path.split("/resolve/")[1].partition("/")[2]) for path in paths}


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serve on a free port of this machine until the block ends."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        hub.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


def blob(body: bytes) -> str:
    """Git's name for a file's bytes."""
    return hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the signature is http.server's
        pass

    def _answer(self) -> None:
        path = urlsplit(self.path).path  # a slash in the name of a revision is quoted
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.hub.requests.append((self.command, path, token))
        if self.hub.answer is not None and self.hub.answer(self, path):
            self.close_connection = True
        elif self.hub.stalls:
            self.hub.released.wait(30)
        elif self.hub.status:
            self._send(self.hub.status, b"{}")
        elif path.startswith(INFO):
            name, _, revision = path.removeprefix(INFO).partition("/revision/")
            self._model(name, unquote(revision or "main"), "", token)
        else:
            name, _, rest = path.removeprefix("/").partition("/resolve/")
            revision, _, file = rest.partition("/")
            self._model(name, unquote(revision), unquote(file), token)

    def _model(self, name: str, revision: str, file: str, token: str) -> None:
        found = self.hub.repositories.get(name)
        if found is None or (found.token and not found.gated and token != found.token):
            self._refuse(401 if not token else 404, "RepoNotFound")
        elif found.gated and file and token != found.token:
            self._refuse(403 if token else 401, "GatedRepo")
        elif revision not in {*found.revisions, *found.revisions.values()}:
            self._refuse(404, "RevisionNotFound")
        elif not file:
            self._list(name, found, found.revisions.get(revision, revision))
        elif file not in found.files:
            self._refuse(404, "EntryNotFound")
        else:
            body = found.files[file]
            etag = f'"{hashlib.sha1(body).hexdigest()}"'
            self._send(200, body, {"ETag": etag, "X-Repo-Commit": found.revisions.get(revision, revision), **self.hub.headers})

    def _list(self, name: str, found: Repository, commit: str) -> None:
        siblings = [{"rfilename": file, "size": len(body), "blobId": blob(body)} for file, body in found.files.items()]
        sha = commit if self.hub.commit is None else self.hub.commit
        self._send(200, json.dumps({"id": name, "sha": sha, "siblings": [*siblings, *self.hub.listed]}).encode())

    def _refuse(self, status: int, code: str) -> None:
        self._send(status, b"{}", {"X-Error-Code": code})

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            with suppress(ConnectionError):  # who asked has gone
                self.wfile.write(body)
