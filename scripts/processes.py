"""Whole processes, with their time and memory."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from typing import Any


def accounted(command: list[str], text: str = "") -> dict[str, Any]:
    """Run a command, and return its output, its wall and CPU seconds and its peak memory."""
    started = time.perf_counter()
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as file:
        given.write(text.encode())
        given.seek(0)
        process = subprocess.Popen(command, stdin=given, stdout=file, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - started
        file.seek(0)
        out = file.read().decode()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return {"out": out, "wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "mb": usage.ru_maxrss / 1024}
