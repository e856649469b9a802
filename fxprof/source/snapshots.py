"""Where files from the Hub are kept: the usual cache of `huggingface_hub`, or nowhere for longer than this process."""

from __future__ import annotations

import atexit
import os
from contextlib import suppress
from functools import cache
from pathlib import Path

from fxprof.parts import remove_temporary, temporary, whole_file


def snapshot(repo: str, commit: str) -> Path:
    """The directory for a commit's files; a temporary one where the cache cannot be written to, or there is no home for it.

    Args:
        repo: `org/name`, checked to be a name.
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
    """Note which commit a branch or tag stands for, as the client does, for when there is no network."""
    kept = _folder(repo)
    if kept is not None:
        path = kept / "refs" / revision
        with suppress(OSError):  # a cache that can only be read is of use all the same
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as file:
                file.write(commit.encode())


def _folder(repo: str) -> Path | None:
    """The repository's place in the cache; None for a user without a home, where the client's path is none."""
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
