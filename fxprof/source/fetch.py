"""Requests to the Hub, which is not trusted: answers are bounded in time, size and redirects, and no answer becomes a path.

The module does not use the client's own download, which takes a file's name from a header, retries for as long as the server
asks, and reads answers without end. Addresses, tokens, errors and connections are the client's.
"""

from __future__ import annotations

import hashlib
import io
import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar
from urllib.parse import urljoin, urlsplit

import fxprof
from fxprof import limits

_Item = TypeVar("_Item")
_Value = TypeVar("_Value")
_ERROR_HEADERS = ("X-Error-Code", "X-Error-Message", "Content-Type")
_LONGEST_HEADER = 300
_USUAL_PIECE = 512
"""The least bytes of one piece, even on the slowest line."""


class RefusedError(Exception):
    """An answer that no honest Hub gives."""


class NotWholeError(RefusedError):
    """A fetched file that differs from its entry in the list of files: cut short on the way, or another file."""


class TooSlowError(Exception):
    """The time for all answers is over."""


class Described(NamedTuple):
    """The entry of a file in the list of files; None for facts that the list does not give."""

    size: int | None = None
    blob: str | None = None
    """Git's name for the bytes, 40 digits."""
    sha256: str | None = None
    """The digest of a large file; Git holds only a pointer to such a file."""


class Checked:
    """A file that is written, and afterwards compared with its entry in the list of files.

    An answer without a length in its headers looks whole even if a server or a proxy cut it short.
    """

    def __init__(self, file: BinaryIO, described: Described) -> None:
        """Write nothing yet."""
        self._file, self._described, self._size = file, described, 0
        self._hash, self._expected = _hash_of(described)

    def write(self, chunk: bytes) -> None:
        """Write the next bytes."""
        self._file.write(chunk)
        self._size += len(chunk)
        if self._hash is not None:
            self._hash.update(chunk)

    def compare(self, what: str) -> None:
        """Refuse a file that differs from its entry.

        Raises:
            NotWholeError: the file has another length or other bytes.
        """
        size = self._described.size
        if size is not None and self._size != size:
            raise NotWholeError(f"{what} has {self._size:,} bytes, but the list of files says {size:,}")
        if self._hash is not None and self._hash.hexdigest() != self._expected:
            raise NotWholeError(f"{what} has other bytes than the list of files says")


def _hash_of(described: Described) -> tuple[Any, str | None]:
    """The hash to compute over a file's bytes, and the digest to expect; None if the list gives neither."""
    if described.sha256 is not None:
        return hashlib.sha256(), described.sha256
    if described.blob is not None and described.size is not None:
        return hashlib.sha1(b"blob %d\0" % described.size, usedforsecurity=False), described.blob
    return None, None


class Line:
    """A connection to the Hub for one fetch.

    Args:
        seconds: time after which the fetch gives up every answer, wherever it stands.
    """

    def __init__(self, seconds: float) -> None:
        """Connect to nothing yet."""
        from huggingface_hub.utils import _http

        # A new client, made as the user's program has set: another fetch in the same process may use the shared one.
        self._client = _http._GLOBAL_CLIENT_FACTORY()  # noqa: SLF001 - there is a function to set it, and none to read it
        packed_has_no_size = {"Accept-Encoding": "identity"}
        self._headers = {"User-Agent": f"fxprof/{fxprof.__version__}", **_authorization(), **packed_has_no_size}
        self.seconds = seconds
        self._ends = time.monotonic() + seconds
        self._left = limits.HUB_TOTAL_BYTES
        self._around = limits.HUB_AROUND_BYTES
        self._pieces = limits.HUB_PIECES
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._closed = False

    @property
    def left(self) -> float:
        """Seconds until the end."""
        return self._ends - time.monotonic()

    def text(self, url: str, what: str, most: int, timeout: float) -> bytes:
        """A short answer.

        Args:
            url: address to ask.
            what: name of the answer, for a message.
            most: bytes that the answer may have.
            timeout: seconds without a sign of life.

        Raises:
            RefusedError: the answer is larger, packed, or behind too many redirects.
            TooSlowError: the time is over.
        """
        body = io.BytesIO()
        self.copy(url, body, what, most, timeout)
        return body.getvalue()

    def copy(self, url: str, goal: BinaryIO | Checked, what: str, most: int, timeout: float) -> None:
        """Write an answer to a file; arguments and errors are those of `text`."""
        headers: Mapping[str, str] = self._headers
        for _ in range(limits.HUB_REDIRECTS + 1):
            with self._stream(url, headers, timeout) as response:
                if not response.has_redirect_location:
                    _refuse_failure(response, self._chunks(response, limits.HUB_ERROR_BYTES, None))
                    _refuse_packed(response, what)
                    for chunk in self._chunks(response, most, what):
                        goal.write(chunk)
                    return
                url, headers = _followed(url, headers, response.headers["Location"], what)
        raise RefusedError(f"{what} is behind more than {limits.HUB_REDIRECTS} redirects")

    def close(self) -> None:
        """End every transfer, in whatever thread: a server that sends a byte now and then would keep one going for ever."""
        with self._lock:
            self._closed, sockets = True, list(self._sockets)
        for each in sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        with suppress(Exception):  # whatever state another thread has left the client in
            self._client.close()

    def _stream(self, url: str, headers: Mapping[str, str], timeout: float) -> Any:
        seconds = min(timeout, self._still())
        extensions = {"trace": self._note}
        return self._client.stream("GET", url, headers=headers, timeout=seconds, follow_redirects=False, extensions=extensions)

    def _note(self, event: str, info: Mapping[str, Any]) -> None:
        """Remember the sockets: while the client reads headers, nothing else can stop it."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            self._count_around(info["return_value"])
            connection = info["return_value"].get_extra_info("socket")
            with self._lock:
                self._sockets.append(connection)
                closed = self._closed
            if closed:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _count_around(self, stream: Any) -> None:
        """Have a connection count its bytes: endless headers never get as far as a body."""
        read = stream.read

        def counted(*args: Any, **kwargs: Any) -> Any:
            data = read(*args, **kwargs)
            with self._lock:
                self._around -= len(data)
            if self._around < 0:
                raise RefusedError("it sends more data around its files than they need")
            return data

        stream.read = counted

    def _still(self) -> float:
        if self.left <= 0:
            raise TooSlowError(self.seconds)
        return self.left

    def _chunks(self, response: Any, most: int, what: str | None) -> Iterator[bytes]:
        """The body, piece by piece; cut at `most`, or refused if it has a name (`what`)."""
        size = 0
        for chunk in response.iter_raw():
            self._still()
            size += len(chunk)
            if size > most and what is not None:
                raise RefusedError(f"{what} is larger than {_mebibytes(most)}")
            with self._lock:
                self._left -= len(chunk)
                self._around += len(chunk) + len(chunk) // 64  # the length of a piece comes before the piece
                self._pieces -= 1
            received = limits.HUB_TOTAL_BYTES - self._left
            if self._pieces + received // _USUAL_PIECE < 0:
                raise RefusedError(f"{what or 'its answer'} comes in pieces of a few bytes, which take too much time")
            if self._left < 0:
                raise RefusedError(f"its files are together larger than {_mebibytes(limits.HUB_TOTAL_BYTES)}")
            yield chunk
            if size > most:
                return


def _mebibytes(size: int) -> str:
    return f"{size // 2**20} MiB"


def _followed(url: str, headers: Mapping[str, str], location: str, what: str) -> tuple[str, Mapping[str, str]]:
    """The address of a redirect, with headers for it; the token goes to no server but its own."""
    goal = urljoin(url, location)
    before, after = urlsplit(url), urlsplit(goal)
    if after.scheme not in {"http", "https"} or (before.scheme, after.scheme) == ("https", "http"):
        raise RefusedError(f"{what} is redirected to an unsafe address")
    if (before.scheme, before.netloc) != (after.scheme, after.netloc):
        headers = {name: value for name, value in headers.items() if name.lower() != "authorization"}
    return goal, headers


def _authorization() -> dict[str, str]:
    """The user's token, from the places where the client looks for it.

    The client's own functions for headers and tokens are not called: they first ask the Hub for other things, without bounds on
    time and size.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN:
        return {}
    token = os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN") or _first_line(Path(constants.HF_TOKEN_PATH))
    token = token.strip()
    return {"Authorization": f"Bearer {token}"} if token.isascii() and token.isprintable() and token else {}


def _first_line(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.readline(_LONGEST_HEADER).decode("ascii", "replace")
    except OSError:
        return ""


def _refuse_failure(response: Any, body: Iterable[bytes]) -> None:
    """Raise the client's own error for an answer that reports a failure."""
    if response.is_success:
        return
    from huggingface_hub.utils._http import hf_raise_for_status

    headers = {name: value[:_LONGEST_HEADER] for name in _ERROR_HEADERS if (value := response.headers.get(name))}
    whole = type(response)(response.status_code, headers=headers, content=b"".join(body), request=response.request)
    hf_raise_for_status(whole)
    raise RefusedError(f"it answers with status {response.status_code}")


def _refuse_packed(response: Any, what: str) -> None:
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding.strip().lower() not in {"", "identity"}:
        raise RefusedError(f"{what} is packed, although fxprof asked for plain content")


def within(line: Line, work: Callable[[], _Value]) -> _Value:
    """The result of a function that asks a line, if it comes in the line's time, whatever the function's thread waits for.

    Raises:
        TooSlowError: it does not come in time.
    """
    answers: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put((True, work()))
        except BaseException as error:  # noqa: BLE001 - it is raised where somebody waits
            answers.put((False, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        done, value = answers.get(timeout=max(line.left, 0))
    except queue.Empty:
        raise TooSlowError(line.seconds) from None
    finally:
        line.close()
    if not done:
        raise value
    return value  # type: ignore[no-any-return]


def at_once(function: Callable[[_Item], object], items: Iterable[_Item], threads: int) -> None:
    """Call a function with every item, several at a time, until one call fails; raise its error.

    The threads end with the process, whatever they wait for; threads of a pool do not.
    """
    waiting: queue.SimpleQueue[_Item] = queue.SimpleQueue()
    ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
    count = 0
    for count, item in enumerate(items, start=1):  # noqa: B007 - how many there were
        waiting.put(item)

    def run() -> None:
        while True:
            try:
                function(waiting.get_nowait())
            except queue.Empty:
                return
            except BaseException as error:  # noqa: BLE001 - as above
                ended.put(error)
                return
            ended.put(None)

    for _ in range(min(threads, count)):
        threading.Thread(target=run, daemon=True).start()
    for _ in range(count):
        error = ended.get()
        if error is not None:
            raise error  # without waiting for the other threads, which may take all the time
