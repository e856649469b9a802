"""Configurations from the Hub: the files that describe a model, never its weights and never code.

They go to the usual cache of `huggingface_hub`, which is imported when a Hub id is read and at no other time. Its
environment variables hold: HF_TOKEN, HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_HUB_OFFLINE and the timeouts.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fxprof.errors import TargetError
from fxprof.source.config import PipelineConfig, SingleComponent
from fxprof.source.directory import CONFIG, INDEX, MAX_BYTES, read

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoSibling

_ID = re.compile(r"(?P<repo>[A-Za-z0-9][\w.-]*/[\w.-]+)(?:@(?P<revision>[\w.][\w./-]*))?")
_WANTED = re.compile(r"(?:[\w.-]+/)?[\w.-]+(?<!\.index)\.(?:json|txt|model)")
"""Configurations and vocabularies, beside the index or one folder down; no lists of the shards of weights."""
_DEFAULT_REVISION = "main"
_AT_ONCE = 8
"""Files that are fetched at the same time."""
_UNAUTHORIZED = 401


def is_hub_id(text: str) -> bool:
    """Whether a text has the form `org/name` or `org/name@revision`."""
    return _ID.fullmatch(text) is not None


def repository(text: str) -> str:
    """The `org/name` of a Hub id."""
    return text.partition("@")[0]


def read_hub(text: str) -> PipelineConfig | SingleComponent:
    """The configuration of a pipeline, or of one component, from the Hub or from what was fetched before.

    Args:
        text: `org/name` or `org/name@revision`; also what the result is called.

    Raises:
        TargetError: the repository cannot be had, or is not what diffusers or transformers write.
    """
    match = _ID.fullmatch(text)
    assert match is not None
    repo, revision = match["repo"], match["revision"] or _DEFAULT_REVISION
    from huggingface_hub.errors import RevisionNotFoundError

    try:
        with _quiet():
            directory, code = _fetch(text, repo, revision)
    except TargetError:
        raise
    except Exception as error:  # the client raises its own errors, those of its HTTP library and the system's
        cached = None if isinstance(error, RevisionNotFoundError) else _cached(text, repo, revision)
        if cached is None:
            raise _refusal(text, revision, error) from error
        return cached
    return _read(text, directory, code)


def _read(text: str, directory: Path, code: frozenset[str]) -> PipelineConfig | SingleComponent:
    try:
        found = read(directory, code=code)
    except TargetError as error:
        # Where the cache is says nothing; the file of the repository does.
        message, hint = (line.replace(str(directory), text) for line in (error.message, error.hint))
        raise TargetError(message, hint) from error
    if isinstance(found, SingleComponent):
        return replace(found, name=text)
    return replace(found, name=text, hub_id=repository(text))


def _fetch(text: str, repo: str, revision: str) -> tuple[Path, frozenset[str]]:
    """The snapshot's directory, and the Python files that the repository has, which stay where they are."""
    from concurrent.futures import ThreadPoolExecutor  # not with the module: every start would pay for it

    from huggingface_hub import HfApi, constants

    api = HfApi()
    listing = api.model_info(repo, revision=revision, files_metadata=True, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    siblings = listing.siblings or []
    wanted = [sibling.rfilename for sibling in siblings if _is_wanted(sibling)]
    if not {INDEX, CONFIG} & set(wanted):
        raise _no_index(text, [sibling.rfilename for sibling in siblings])
    code = frozenset(sibling.rfilename for sibling in siblings if sibling.rfilename.endswith(".py"))
    # By its name once, so that the cache knows what the name stands for; by the commit all the files fit together.
    _download(api, repo, revision, wanted[0])
    commit = listing.sha or revision
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        paths = dict(zip(wanted, pool.map(lambda name: _download(api, repo, commit, name), wanted), strict=True))
    return paths[INDEX if INDEX in paths else CONFIG].parent, code


def _download(api: HfApi, repo: str, revision: str, name: str) -> Path:
    return Path(api.hf_hub_download(repo, name, revision=revision))


def _is_wanted(sibling: RepoSibling) -> bool:
    return _WANTED.fullmatch(sibling.rfilename) is not None and (sibling.size or 0) <= MAX_BYTES


def _cached(text: str, repo: str, revision: str) -> PipelineConfig | SingleComponent | None:
    """What was fetched before, by whatever program, where it is enough; None otherwise."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    for name in (INDEX, CONFIG):
        try:
            path = try_to_load_from_cache(repo, name, revision=revision)
            if isinstance(path, str):
                return _read(text, Path(path).parent, frozenset())
        except (TargetError, HFValidationError, OSError):
            return None
    return None


@contextmanager
def _quiet() -> Iterator[None]:
    """No warnings, which are told as errors when they become one, and no progress bars where nobody watches."""
    import logging

    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    logger = logging.getLogger("huggingface_hub")
    level, hide = logger.level, not sys.stderr.isatty() and not are_progress_bars_disabled()
    logger.setLevel(logging.ERROR)
    if hide:
        disable_progress_bars()
    try:
        yield
    finally:
        logger.setLevel(level)
        if hide:
            enable_progress_bars()


def _no_index(text: str, names: list[str]) -> TargetError:
    shown = ", ".join(sorted(names)[:6]) + (", ..." if len(names) > 6 else "") if names else "nothing"  # noqa: PLR2004
    return TargetError(
        f"cannot profile {text!r}: the repository has neither a {INDEX} nor a {CONFIG}; in it: {shown}",
        "name a repository that diffusers or transformers can load",
    )


def _refusal(text: str, revision: str, error: Exception) -> TargetError:
    from huggingface_hub import errors

    match error:
        case errors.GatedRepoError():
            reason = "it is gated, and access was not granted"
            hint = "accept the licence on the model's page, and set HF_TOKEN to a token of that account"
        case errors.RepositoryNotFoundError():
            reason = "there is no such directory, and the Hub has no such repository, or a private one"
            hint = "check the name; for a private repository, set HF_TOKEN"
        case errors.RevisionNotFoundError():
            reason = f"the repository has no revision {revision!r}"
            hint = "name a branch, a tag or a commit after the @"
        case errors.HFValidationError():
            reason, hint = "there is no such directory, and no repository can have this name", "check the name"
        case errors.HfHubHTTPError() if error.response.status_code == _UNAUTHORIZED:
            reason, hint = "the Hub does not accept the token", "check HF_TOKEN, or unset it for a public repository"
        case _ if _is_offline(error):
            reason = "there is no such directory, the Hub is switched off by HF_HUB_OFFLINE, and it is not in the cache"
            hint = "unset HF_HUB_OFFLINE for one run; what was fetched once needs no network"
        case _:
            reason = f"there is no such directory, and it could not be fetched from the Hub: {_told(error)}"
            hint = "check the network, the proxy and HF_ENDPOINT; what was fetched once needs no network"
    return TargetError(f"cannot profile {text!r}: {reason}", hint)


def _is_offline(error: BaseException) -> bool:
    from huggingface_hub.errors import OfflineModeIsEnabled

    return any(isinstance(cause, OfflineModeIsEnabled) for cause in _causes(error))


def _told(error: BaseException) -> str:
    """The first line of the error that started it."""
    root = list(_causes(error))[-1]
    first = next((line.strip() for line in str(root).splitlines() if line.strip()), "")
    return f"{type(root).__name__}: {first}" if first else type(root).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__
