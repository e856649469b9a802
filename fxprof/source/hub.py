"""Configurations from the Hub: the files that describe a model, never its weights and never code.

Files go to the usual cache of `huggingface_hub`, which is imported only to read a Hub id. Its environment variables
hold: HF_TOKEN, HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_HUB_OFFLINE and the timeouts.
"""

from __future__ import annotations

import os
import re
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fxprof import limits
from fxprof.errors import TargetError, printable
from fxprof.parts import recover, whole_file
from fxprof.source.config import PipelineConfig, SingleComponent
from fxprof.source.directory import CONFIG, INDEX, MODULAR, read, read_object, refuse_modular
from fxprof.source.environment import refuse_environment
from fxprof.source.fetch import Checked, Described, Line, NotWholeError, RefusedError, TooSlowError, at_once, within
from fxprof.source.snapshots import remember_revision, snapshot
from fxprof.strict_json import JsonTooLargeError, read_json

_ID = re.compile(r"(?P<repo>[A-Za-z0-9][\w.-]*/[\w.-]+)(?:@(?P<revision>[\w.][\w./-]*))?")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_WANTED = re.compile(
    r"(?P<folder>[A-Za-z0-9_][\w.-]*)/"
    r"(?P<file>(?:additional_chat_templates/)?[A-Za-z0-9_][\w.-]*(?<!\.index)\.(?:json|txt|model|jinja))",
    re.ASCII,
)
"""Paths of configurations, vocabularies and chat templates, one folder down, that lead nowhere else; no lists of shards."""
_MEMBER = re.compile(r"_[0-9]+$")
"""The end of a folder's name for the second and later models of a component that is a list of models."""
_CONFIGS = {"config.json", "scheduler_config.json", "guider_config.json", "preprocessor_config.json", "processor_config.json"}
_READS_FILES = re.compile("Tokenizer|Processor|FeatureExtractor")
"""Classes that read more than their configuration, such as vocabularies."""
_LIBRARY_AND_CLASS = 2
SECONDS = "FXPROF_HUB_SECONDS"
"""The environment variable that sets the time for all answers."""
_DIGITS = 9
_LONGEST = 200
"""Characters that are shown of another library's message."""
_DEFAULT_REVISION = "main"
_AT_ONCE = 8
"""Files that are fetched at the same time."""
_UNAUTHORIZED = 401
_NOT_FETCHED = "there is no such directory, and it could not be fetched from the Hub"
_HINTS = "check HF_ENDPOINT; its server does not behave like a Hub"
_AGAIN = "try again, which continues with the missing files; if that fails too, check HF_ENDPOINT and the proxy"


def is_hub_id(text: str) -> bool:
    """Whether a text has the form `org/name` or `org/name@revision`."""
    return _ID.fullmatch(text) is not None


def repository(text: str) -> str:
    """The `org/name` of a Hub id."""
    return text.partition("@")[0]


def read_hub(text: str) -> PipelineConfig | SingleComponent:
    """The configuration of a pipeline, or of one component, from the Hub or from files that were fetched before.

    Args:
        text: `org/name` or `org/name@revision`; also the name of the result.

    Raises:
        TargetError: the repository cannot be fetched, or diffusers and transformers write no such repository.
    """
    match = _ID.fullmatch(text)
    assert match is not None
    repo, revision = match["repo"], match["revision"] or _DEFAULT_REVISION
    if ".." in revision or {"", "."} & set(revision.split("/")):
        raise TargetError(f"cannot profile {text!r}: no revision can have the name {revision!r}", "check the part after the @")
    refuse_environment()
    try:
        import_module("huggingface_hub.file_download")
        from huggingface_hub.errors import RevisionNotFoundError
    except Exception as error:  # the client reads environment variables during its import
        raise TargetError(
            f"cannot profile {text!r}: the client of the Hub cannot be loaded: {_told(error)}",
            "check the environment variables that begin with HF_",
        ) from error

    try:
        with _quiet():
            directory, code = _fetch(text, repo, revision)
    except TargetError:
        raise
    except RefusedError as error:
        hint = _AGAIN if isinstance(error, NotWholeError) else _HINTS
        raise TargetError(f"cannot profile {text!r}: the Hub's answer is refused: {error}", hint) from error
    except Exception as error:  # the client raises errors of its own, of its HTTP library and of the system
        cached = None if isinstance(error, RevisionNotFoundError) else _cached(text, repo, revision)
        if cached is None:
            raise _refusal(text, revision, error) from error
        return cached
    return _read(text, directory, code)


def _read(text: str, directory: Path, code: frozenset[str]) -> PipelineConfig | SingleComponent:
    try:
        config = read(directory, code=code)
    except TargetError as error:
        # The path within the repository helps the user; the path of the cache does not.
        raise error.renamed(str(directory), text) from error
    if isinstance(config, SingleComponent):
        return replace(config, name=text)
    return replace(config, name=text, hub_id=repository(text))


def _fetch(text: str, repo: str, revision: str) -> tuple[Path, frozenset[str]]:
    """The snapshot's directory, and the names of the repository's Python files, which are not fetched."""
    from huggingface_hub import constants, hf_hub_url
    from huggingface_hub.errors import OfflineModeIsEnabled

    hf_hub_url(repo, CONFIG)  # raises for a name that no repository can have
    if constants.HF_HUB_OFFLINE:
        raise OfflineModeIsEnabled
    line = Line(_seconds())
    return within(line, lambda: _Repository(line, text, repo, revision).fetch())


def _seconds() -> float:
    given = os.environ.get(SECONDS, "")
    is_number = given.isascii() and given.isdecimal() and len(given) <= _DIGITS
    return float(given) if is_number and int(given) else limits.HUB_SECONDS


class _Repository:
    """A repository, with its list of files."""

    def __init__(self, line: Line, text: str, repo: str, revision: str) -> None:
        from huggingface_hub import constants

        self._line, self._text, self._repo, self._revision = line, text, repo, revision
        url = f"{constants.ENDPOINT}/api/models/{repo}/revision/{quote(revision, safe='')}?blobs=true"
        body = line.text(url, "the list of its files", limits.HUB_LISTING_BYTES, constants.HF_HUB_ETAG_TIMEOUT)
        self._commit, self._files = _listing(body, revision)
        self._directory = snapshot(repo, self._commit)

    def fetch(self) -> tuple[Path, frozenset[str]]:
        """Get the files that describe the repository's model, and no others.

        Raises:
            TargetError: fxprof cannot profile such a repository.
            RefusedError: the repository has too many files, or too large ones, or the Hub does not tell the truth.
        """
        first = next((name for name in (INDEX, CONFIG, MODULAR) if name in self._files), None)
        if first is None:
            raise _no_index(self._text, list(self._files))
        self._get(first)
        if first == MODULAR:
            raise refuse_modular(self._directory).renamed(str(self._directory), self._text)
        wanted = needed(self._files, self._directory / INDEX) if first == INDEX else []
        if len(wanted) > limits.HUB_FILES:
            raise RefusedError(f"its components have {len(wanted):,} files, more than {limits.HUB_FILES}")
        at_once(self._get, wanted, _AT_ONCE)
        if self._revision != self._commit:
            remember_revision(self._repo, self._revision, self._commit)
        return self._directory, frozenset(name for name in self._files if name.endswith(".py"))

    def _get(self, name: str) -> None:
        from huggingface_hub import constants, hf_hub_url

        described = self._files[name]
        size = described.size
        if size is not None and size > limits.HUB_FILE_BYTES:
            raise RefusedError(f"{name} is larger than {limits.HUB_FILE_BYTES // 2**20} MiB")
        goal = self._directory / name
        # Another program may have stored a file that was cut short.
        if not goal.is_file() or (size is not None and goal.stat().st_size != size):
            goal.parent.mkdir(parents=True, exist_ok=True)
            recover(goal)
            url = hf_hub_url(self._repo, name, revision=self._commit)
            with whole_file(goal) as file:
                checked = Checked(file, described)
                self._line.copy(url, checked, name, limits.HUB_FILE_BYTES, constants.HF_HUB_DOWNLOAD_TIMEOUT)
                checked.compare(name)


def _listing(body: bytes, revision: str) -> tuple[str, dict[str, Described]]:
    """The commit, and the entry of each file.

    Raises:
        RefusedError: the Hub sends no such list.
    """
    try:
        value = read_json(body, values=limits.JSON_VALUES, repeats=True, infinite=True)
        siblings = value["siblings"] or []
        files = {_text(item["rfilename"]): _described(item) for item in siblings}
    except JsonTooLargeError as error:
        raise RefusedError(f"the list of its files {error}") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise RefusedError("the list of its files is not what the Hub sends") from error
    commit = value.get("sha")
    if not isinstance(commit, str) or _COMMIT.fullmatch(commit) is None:
        raise RefusedError(f"its commit is {printable(reprlib.repr(commit), _LONGEST)}, not 40 hexadecimal digits")
    if _COMMIT.fullmatch(revision) and commit != revision:
        raise RefusedError(f"its commit is {commit}, not the requested one")
    return commit, files


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _described(item: Mapping[str, Any]) -> Described:
    large = item.get("lfs")
    if large is not None:  # Git's name is that of the pointer, and the list does not give a digest for every large file
        return Described(_size(item.get("size")), None, _digest(large.get("sha256"), _SHA256))
    return Described(_size(item.get("size")), _digest(item.get("blobId"), _COMMIT))


def _digest(value: object, form: re.Pattern[str]) -> str | None:
    """A digest; None for a value of another form, which a mirror may send and which allows no check."""
    return value if isinstance(value, str) and form.fullmatch(value) else None


def _size(value: object) -> int | None:
    if value is not None and (type(value) is not int or value < 0):
        raise TypeError
    return value


def needed(names: Iterable[str], index: Path) -> list[str]:
    """The files that describe a pipeline's components: configurations, and vocabularies of components that read text.

    Args:
        names: all files of the repository.
        index: its `model_index.json`; its faults are reported later, when the directory is read.
    """
    try:
        described = read_object(index)
    except TargetError:
        return []
    classes = {
        name: entry[1] for name, entry in described.items() if isinstance(entry, list) and len(entry) == _LIBRARY_AND_CLASS
    }
    return [name for name in names if _is_needed(name, classes)]


def _is_needed(name: str, classes: Mapping[str, object]) -> bool:
    match = _WANTED.fullmatch(name)
    if match is None:
        return False
    class_name = classes.get(match["folder"], classes.get(_MEMBER.sub("", match["folder"])))
    if not isinstance(class_name, str):
        return False
    return match["file"] in _CONFIGS or _READS_FILES.search(class_name) is not None


def _cached(text: str, repo: str, revision: str) -> PipelineConfig | SingleComponent | None:
    """The configuration in files that any program fetched before; None if they are not enough."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    for name in (INDEX, CONFIG):
        try:
            path = try_to_load_from_cache(repo, name, revision=revision)
            if isinstance(path, str) and Path(path).is_absolute():
                return _read(text, Path(path).parent, frozenset())
        except (TargetError, HFValidationError, OSError):
            return None
    return None


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the client's warnings; a warning that becomes an error is reported as one."""
    import logging

    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


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
            hint = "unset HF_HUB_OFFLINE for one run; fetched files need no network later"
        case TooSlowError():
            reason = f"{_NOT_FETCHED}: its answers took more than {error.args[0]:g} seconds"
            hint = f"try again, which continues with the missing files; on a slow line, set {SECONDS} to more"
        case OSError() if error.filename is not None:
            reason = f"fetching it failed at the file {error.filename}: {error.strerror}"
            hint = "make room, or set HF_HOME to another directory"
        case _:
            reason = f"{_NOT_FETCHED}: {_told(error)}"
            hint = "check the network, the proxy and HF_ENDPOINT; fetched files need no network later"
    return TargetError(f"cannot profile {text!r}: {reason}", hint)


def _is_offline(error: BaseException) -> bool:
    from huggingface_hub.errors import OfflineModeIsEnabled

    return any(isinstance(cause, OfflineModeIsEnabled) for cause in _causes(error))


def _told(error: BaseException) -> str:
    """The first line of the error at the root of this one."""
    root = list(_causes(error))[-1]
    first = next((line.strip() for line in str(root).splitlines() if line.strip()), "")
    first = first if len(first) <= _LONGEST else f"{first[: _LONGEST - 3]}..."
    return f"{type(root).__name__}: {first}" if first else type(root).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__
