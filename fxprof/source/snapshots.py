"""The directory for files from the Hub: the usual cache of `huggingface_hub`, or one that is removed with this process."""

from __future__ import annotations

import atexit
import os
from contextlib import suppress
from functools import cache
from pathlib import Path

from fxprof.parts import remove_temporary, temporary, whole_file


def snapshot(repo: str, commit: str) -> Path:
    """The directory for a commit's files; a temporary one if the cache cannot be written, or the user has no home for it.

    Args:
        repo: `org/name`, already checked.
        commit: 40 hexadecimal digits.
    """
    kept = _folder(repo)
    if kept is not None:
        directory = kept / "snapshots" / commit
        with suppress(OSError):
            directory.mkdir(parents=True, exist_ok=True)
            if os.access(directory, os.W_OK | os.X_OK):
                return directory
    return _temporary() / commit


def remember_revision(repo: str, revision: str, commit: str) -> None:
    """Write down the commit of a branch or tag, as the client does, for a later run without network."""
    kept = _folder(repo)
    if kept is not None:
        path = kept / "refs" / revision
        with suppress(OSError):  # a read-only cache is useful too
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as file:
                file.write(commit.encode())


def _folder(repo: str) -> Path | None:
    """The repository's folder in the cache; None for a user without a home, for whom the client has no path."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    cache_directory = Path(os.path.expanduser(constants.HF_HUB_CACHE))  # noqa: PTH111 - which leaves a home that is unknown
    if not cache_directory.is_absolute() and str(constants.HF_HUB_CACHE).startswith("~"):
        return None
    return cache_directory.absolute() / repo_folder_name(repo_id=repo, repo_type="model")


@cache
def _temporary() -> Path:
    directory = temporary()
    atexit.register(remove_temporary, directory)
    return directory
