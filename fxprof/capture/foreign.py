"""Calls into native code that reads strangers' files: no output about its panics, and a way to end it.

A panic in Rust becomes an exception, but by then Rust itself has written lines about it to descriptor 2, which no exception
handler takes back: with RUST_BACKTRACE=1 they are a hundred.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import cache, wraps
from typing import Any

from transformers import TokenizersBackend

_STDERR = 2
_PANIC = re.compile(rb"\n?thread '[^'\n]*'[^\n]* panicked at ")
"""The beginning of Rust's text about a panic."""
_CALLS = ("_encode_plus", "_decode", "_add_tokens", "_encode_without_added_tokens", "convert_tokens_to_string")
"""Methods that pass a text to Rust along with a stranger's vocabulary."""


class _Aside:
    """The state of descriptor 2, put aside or not, for all threads of the process."""

    lock = threading.Lock()
    blocks = 0
    real: int | None = None


def real_stderr() -> int:
    """The descriptor that leads to the real stderr at this moment, for code that ends the process."""
    return _STDERR if _Aside.real is None else _Aside.real


@contextmanager
def panics_untold() -> Iterator[None]:
    """Let no panic write to descriptor 2 until the end of the block, and write all other output then.

    The text of a panic has no mark at its end, so all output after its beginning is left out: another thread may lose a line.
    """
    try:
        _put_aside()
        yield
    finally:
        _put_back()


def _put_aside() -> None:
    with _Aside.lock:
        _Aside.blocks += 1
        if _Aside.blocks == 1:
            with suppress(OSError):  # it is closed, or there is no room for a file: then it is not put aside
                real = os.dup(_STDERR)
                try:
                    file = _file()
                    _Aside.real = real
                    os.dup2(file, _STDERR)
                except BaseException:
                    _Aside.real = None
                    os.close(real)
                    raise


def _put_back() -> None:
    with _Aside.lock:
        _Aside.blocks -= 1
        real = _Aside.real
        if _Aside.blocks or real is None:
            return
        os.dup2(real, _STDERR)
        _Aside.real = None
        os.close(real)
        file = _file()
        size = os.lseek(file, 0, os.SEEK_CUR)
        if not size:
            return
        os.lseek(file, 0, os.SEEK_SET)
        text = os.read(file, size)
        os.lseek(file, 0, os.SEEK_SET)
        os.ftruncate(file, 0)
    panic = _PANIC.search(text)
    with suppress(OSError):
        _write(text if panic is None else text[: panic.start()])


def _write(text: bytes) -> None:
    while text:
        text = text[os.write(_STDERR, text) :]


@cache
def _file() -> int:
    """A file without a name, shared by all blocks; in memory where the system has such files."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("fxprof")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


@contextmanager
def reading() -> Iterator[None]:
    """Prepare for native code that reads a stranger's file: it may take seconds, in which no Python code runs."""
    with panics_untold(), _ended_by_a_second_signal():
        yield


def _ended_by_a_second_signal() -> AbstractContextManager[None]:
    """The command's treatment of a second signal, if this process is the command."""
    ending = sys.modules.get("fxprof.cli.ending")  # a room that this one must not import
    return nullcontext() if ending is None else ending.second_signal_ends()


@contextmanager
def tokenizers_untold() -> Iterator[None]:
    """Let no tokenizer write about its panics until the end of the block, whoever calls it."""
    before = {name: TokenizersBackend.__dict__[name] for name in _CALLS if name in TokenizersBackend.__dict__}
    for name, method in before.items():
        setattr(TokenizersBackend, name, _untold(method))
    try:
        yield
    finally:
        for name, method in before.items():
            setattr(TokenizersBackend, name, method)


def _untold(method: Any) -> Any:
    @wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        with panics_untold():
            return method(*args, **kwargs)

    return call
