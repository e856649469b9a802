"""A Hub that lies, floods, dawdles or leads astray: one line, in time, and no file where none belongs."""

from __future__ import annotations

import gzip
import hashlib
import json
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from hub_server import INFO, Hub, Repository, serving
from test_hub import INDEX, UNET, command, files, hub, pipeline, refusal

from fxprof import limits
from fxprof.source.hub import SECONDS

__all__ = ["hub"]

REFUSED = "cannot profile 'org/tiny': the Hub's answer is refused: "
NEEDED = {"model_index.json", "unet/config.json", "scheduler/scheduler_config.json"}
Answer = Callable[[BaseHTTPRequestHandler, str], bool]


def inside(directory: Path) -> set[str]:
    """All that is in a directory but for the client's cache of this repository, in which every name is checked."""
    cache = directory / "home" / "hub" / "models--org--tiny"
    for path in cache.rglob("*"):
        kind, _, name = path.relative_to(cache).as_posix().partition("/")
        assert kind in {"snapshots", "refs"}, path
        assert kind == "refs" or not name or name.split("/")[0] == "1" * 40, path
    return {path.relative_to(directory).as_posix() for path in directory.rglob("*") if cache not in (path, *path.parents)}


# --- what it says is no path


@pytest.mark.parametrize(
    "commit",
    ["../../victim", "../" * 9 + "tmp/x", "", "1" * 39, "1" * 41, "A" * 40, "1" * 40 + "\n", "1/" * 20, 7, ["1" * 40], {}],
)
def test_a_commit_is_forty_digits_or_refused(hub: Hub, tmp_path: Path, commit: object) -> None:
    (tmp_path / "home" / "hub").mkdir(parents=True)
    (tmp_path / "victim").write_text("precious")
    hub.commit = commit
    error = refusal("org/tiny")
    assert error.message.startswith(f"{REFUSED}its commit is ")
    assert error.message.endswith(", not 40 hexadecimal digits")
    assert inside(tmp_path) == {"home", "home/hub", "victim"}
    assert (tmp_path / "victim").read_text() == "precious"


def test_the_commit_that_was_asked_for_is_the_one_that_is_answered(hub: Hub) -> None:
    hub.commit = "2" * 40
    assert refusal(f"org/tiny@{'1' * 40}").message.endswith(f"its commit is {'2' * 40}, not the requested one")


@pytest.mark.parametrize("value", ["../../../../victim", "/victim", "..", "a/b", "x" * 5000, ""])
def test_no_header_is_part_of_a_path(hub: Hub, tmp_path: Path, value: str) -> None:
    (tmp_path / "victim").write_text("precious")
    names = ("ETag", "X-Linked-Etag", "X-Repo-Commit", "X-Xet-Hash", "Content-Disposition")
    hub.headers = dict.fromkeys(names, value)
    assert pipeline("org/tiny").class_name == "DDPMPipeline"
    assert inside(tmp_path) == {"home", "home/hub", "victim"}
    assert (tmp_path / "victim").read_text() == "precious"


@pytest.mark.parametrize(
    "name",
    [
        "../victim.json", "unet/../../victim.json", "/victim.json", "unet//victim.json", "../unet/config.json", "unet/..json/x",
        "./unet/victim.json", "unet/.victim.json",
        "unet\\..\\victim.json", "unet/vic\0tim.json", "unet/victim.json\n", "\u0075net/\u0456.json",
    ],
)  # fmt: skip
def test_names_that_lead_elsewhere_are_not_fetched(hub: Hub, tmp_path: Path, name: str) -> None:
    hub.repositories["org/tiny"].files[name] = b"{}"
    pipeline("org/tiny")
    assert hub.requested() == NEEDED
    assert inside(tmp_path) == {"home", "home/hub"}


@pytest.mark.parametrize("revision", ["../../victim", "a/../b", "refs/..", "a/", ".", "a//b", "./a", "a..b"])
def test_a_revision_stays_inside_too(hub: Hub, revision: str) -> None:
    error = refusal(f"org/tiny@{revision}")
    assert error.message == f"cannot profile 'org/tiny@{revision}': no revision can have the name {revision!r}"
    assert hub.requests == []


# --- the list of files


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"rfilename": None},
        {"rfilename": ["x"]},
        {"rfilename": "x", "size": "1"},
        {"rfilename": "x", "size": -1},
        None,
        "x",
        7,
    ],
)
def test_an_entry_that_is_none_is_refused(hub: Hub, entry: object) -> None:
    hub.listed = [entry]
    assert refusal("org/tiny").message == f"{REFUSED}the list of its files is not what the Hub sends"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[",
        b"[]",
        b"null",
        b"7",
        b"\xff",
        b"{}",
        b"[" * 100_000,
        b'{"siblings": ' + b"9" * 5000 + b"}",
        b'{"siblings": 7}',
    ],
)
def test_what_is_no_list_is_refused(hub: Hub, body: bytes) -> None:
    hub.answer = sending(body)
    assert refusal("org/tiny").message == f"{REFUSED}the list of its files is not what the Hub sends"


def sending(body: bytes, status: int = 200, part: str = INFO, **headers: str) -> Answer:
    """Answer requests with a part in their path so."""

    def answer(request: BaseHTTPRequestHandler, path: str) -> bool:
        if part not in path:
            return False
        request.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(body)
        return True

    return answer


def test_of_three_thousand_files_those_that_are_needed_are_fetched(hub: Hub) -> None:
    for number in range(1000):
        for name in (f"{number}.json", f"unet/{number}.json", f"other{number}/config.json"):
            hub.repositories["org/tiny"].files[name] = b"{}"
    pipeline("org/tiny")
    assert hub.requested() == NEEDED


def test_what_reads_text_gets_its_vocabulary_and_lists_of_models_all_their_folders(hub: Hub) -> None:
    index = {**INDEX, "tokenizer": ["transformers", "CLIPTokenizer"], "controlnet": ["diffusers", "MultiControlNetModel"]}
    kept = files(index)
    kept |= {f"{folder}/config.json": json.dumps(UNET).encode() for folder in ("controlnet", "controlnet_1", "controlnet_x")}
    kept |= {"tokenizer/tokenizer_config.json": b"{}", "tokenizer/vocab.json": b"{}"}
    hub.repositories["org/tiny"] = Repository(kept)
    pipeline("org/tiny")
    vocabulary = {f"tokenizer/{name}" for name in ("merges.txt", "spiece.model", "tokenizer_config.json", "vocab.json")}
    assert hub.requested() == NEEDED | vocabulary | {"controlnet/config.json", "controlnet_1/config.json"}


def test_more_files_than_any_pipeline_has_are_refused(hub: Hub) -> None:
    index = {**INDEX, "tokenizer": ["transformers", "CLIPTokenizer"]}
    many = {f"tokenizer/{number}.json": b"{}" for number in range(3000)}
    hub.repositories["org/tiny"] = Repository({**files(index), **many})
    assert refusal("org/tiny").message == f"{REFUSED}its components have 3,004 files, more than {limits.HUB_FILES}"
    assert hub.requested() == {"model_index.json"}


# --- sizes


def endless(part: str) -> Answer:
    """A body without a length that never ends."""

    def answer(request: BaseHTTPRequestHandler, path: str) -> bool:
        if part not in path:
            return False
        request.send_response(200)
        request.end_headers()
        try:
            while True:
                request.wfile.write(b"[" * 65536)
        except OSError:  # who reads has seen enough
            return True

    return answer


def test_a_list_without_end_is_cut(hub: Hub) -> None:
    hub.answer = endless(INFO)
    assert refusal("org/tiny").message == f"{REFUSED}the list of its files is larger than 16 MiB"


def test_a_file_without_end_is_cut_and_not_kept(hub: Hub, tmp_path: Path) -> None:
    hub.answer = endless("unet/config.json")
    assert refusal("org/tiny").message == f"{REFUSED}unet/config.json is larger than 64 MiB"
    assert not list(tmp_path.rglob("*.part"))
    assert not list(tmp_path.rglob("unet/*"))


def test_a_file_that_is_said_to_be_too_large_is_not_asked_for(hub: Hub) -> None:
    hub.listed = [{"rfilename": "unet/config.json", "size": 2**40}]
    assert refusal("org/tiny").message == f"{REFUSED}unet/config.json is larger than 64 MiB"
    assert "unet/config.json" not in hub.requested()


def test_all_files_together_are_bounded(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HUB_TOTAL_BYTES", 2**20)
    hub.repositories["org/tiny"].files["unet/config.json"] = b" " * 2**20
    assert refusal("org/tiny").message == f"{REFUSED}its files are together larger than 1 MiB"


@pytest.mark.parametrize("part", [INFO, "unet/config.json"])
def test_what_is_packed_is_not_unpacked(hub: Hub, part: str) -> None:
    hub.answer = sending(gzip.compress(b" " * 2**26), part=part, Content_Encoding="gzip")
    what = "the list of its files" if part == INFO else part
    assert refusal("org/tiny").message == f"{REFUSED}{what} is packed, although fxprof asked for plain content"


def test_a_body_that_breaks_off_is_not_kept(hub: Hub, tmp_path: Path) -> None:
    hub.answer = sending(b"{}", part="unet/config.json", Content_Length="100")
    assert "it could not be fetched from the Hub: RemoteProtocolError: " in refusal("org/tiny").message
    assert not list(tmp_path.rglob("unet/*"))


def cut_short(size: int) -> Answer:
    """The first bytes of a file, with nothing that says how many there are: the connection's end is the file's."""

    def answer(request: BaseHTTPRequestHandler, path: str) -> bool:
        if "unet/config.json" not in path:
            return False
        request.wfile.write(b'HTTP/1.0 200 OK\r\nETag: "a"\r\n\r\n' + files()["unet/config.json"][:size])
        return True

    return answer


@pytest.mark.parametrize("size", [0, 1, 100])
def test_a_file_that_is_cut_short_is_refused_and_the_next_run_fetches_it(hub: Hub, tmp_path: Path, size: int) -> None:
    hub.answer = cut_short(size)
    error, whole = refusal("org/tiny"), files()["unet/config.json"]
    assert error.message == f"{REFUSED}unet/config.json has {size} bytes, but the list of files says {len(whole)}"
    assert error.hint.startswith("try again")
    assert not list(tmp_path.rglob("unet/*"))
    hub.answer = None
    assert pipeline("org/tiny").class_name == "DDPMPipeline"
    assert [path.read_bytes() for path in tmp_path.rglob("unet/config.json")] == [whole]


def test_a_whole_file_without_a_length_is_taken(hub: Hub) -> None:
    hub.answer = cut_short(10**6)
    assert pipeline("org/tiny").class_name == "DDPMPipeline"


def test_what_was_stored_cut_short_before_is_fetched_again(hub: Hub, tmp_path: Path) -> None:
    pipeline("org/tiny")
    (stored,) = tmp_path.rglob("unet/config.json")
    whole = stored.read_bytes()
    stored.write_bytes(whole[:100])
    assert pipeline("org/tiny").class_name == "DDPMPipeline"
    assert stored.read_bytes() == whole


OTHER = f"{REFUSED}unet/config.json has other bytes than the list of files says"


def test_a_file_of_the_right_length_with_other_bytes_is_refused(hub: Hub, tmp_path: Path) -> None:
    hub.answer = sending(files()["unet/config.json"].replace(b"8", b"9"), part="unet/config.json")
    assert refusal("org/tiny").message == OTHER
    assert not list(tmp_path.rglob("unet/*"))


@pytest.mark.parametrize("honest", [True, False])
def test_a_large_file_is_known_by_its_own_digest(hub: Hub, *, honest: bool) -> None:
    """Of which Git has a pointer only."""
    body = files()["unet/config.json"]
    digest = hashlib.sha256(body if honest else b"").hexdigest()
    large = {"sha256": digest, "size": len(body), "pointerSize": 130}
    hub.listed = [{"rfilename": "unet/config.json", "size": len(body), "blobId": "2" * 40, "lfs": large}]
    if honest:
        assert pipeline("org/tiny").class_name == "DDPMPipeline"
    else:
        assert refusal("org/tiny").message == OTHER


@pytest.mark.parametrize("said", [{}, {"blobId": None}, {"blobId": 7}, {"blobId": "x"}, {"lfs": {}}, {"lfs": {"sha256": "x"}}])
def test_what_no_digest_is_said_of_is_known_by_its_length(hub: Hub, said: dict[str, object]) -> None:
    hub.listed = [{"rfilename": "unet/config.json", "size": len(files()["unet/config.json"]), **said}]
    assert pipeline("org/tiny").class_name == "DDPMPipeline"


# --- redirects


def redirecting(goal: str, part: str = "/resolve/") -> Answer:
    return sending(b"", 302, part, Location=goal)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_counted(hub: Hub, status: int) -> None:
    hub.answer = sending(b"", status, "model_index.json", Location="/org/tiny/resolve/main/model_index.json")
    assert refusal("org/tiny").message == f"{REFUSED}model_index.json is behind more than 5 redirects"
    assert len(hub.requests) == 1 + 6


@pytest.mark.parametrize("goal", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:text/plain,{}", "javascript:1"])
def test_redirects_lead_to_servers_only(hub: Hub, goal: str) -> None:
    hub.answer = redirecting(goal)
    assert refusal("org/tiny").message == f"{REFUSED}model_index.json is redirected to an unsafe address"


def test_a_redirect_is_followed_without_the_token(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with serving(Hub({"org/tiny": Repository(files())})) as other:
        hub.answer = redirecting(f"{other.endpoint}/org/tiny/resolve/main/model_index.json", "model_index.json")
        assert pipeline("org/tiny").class_name == "DDPMPipeline"
        assert [(method, token) for method, _, token in other.requests] == [("GET", "")]
    assert {token for _, _, token in hub.requests} == {"hf_secret"}


# --- time


def dripping(part: str, *, head: bool) -> Answer:
    """A byte every tenth of a second, of the headers or of the body."""

    def answer(request: BaseHTTPRequestHandler, path: str) -> bool:
        if part not in path:
            return False
        request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n" + (b"X-Long: " if head else b"\r\n"))
        try:
            while not request.hub.released.wait(0.1):  # type: ignore[attr-defined]
                request.wfile.write(b"x")
        except OSError:
            pass
        return True

    return answer


@pytest.mark.parametrize("part", [INFO, "model_index.json", "unet/config.json"])
@pytest.mark.parametrize("head", [True, False])
def test_a_hub_that_dawdles_is_given_up(hub: Hub, monkeypatch: pytest.MonkeyPatch, part: str, head: bool) -> None:
    monkeypatch.setenv(SECONDS, "1")
    hub.answer = dripping(part, head=head)
    started = time.monotonic()
    error = refusal("org/tiny")
    assert time.monotonic() - started < 3
    assert error.message == (
        "cannot profile 'org/tiny': there is no such directory, and it could not be fetched from the Hub: "
        "its answers took more than 1 seconds"
    )
    assert error.hint == "try again, which continues with the missing files; on a slow line, set FXPROF_HUB_SECONDS to more"


def flooding(part: str, piece: bytes, *, start: bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n") -> Answer:
    """The same piece again and again, as fast as it is taken."""

    def answer(request: BaseHTTPRequestHandler, path: str) -> bool:
        if part not in path:
            return False
        try:
            request.wfile.write(start)
            while not request.hub.released.is_set():  # type: ignore[attr-defined]
                request.wfile.write(piece * 1_000)
        except OSError:
            pass
        return True

    return answer


@pytest.mark.parametrize("part", [INFO, "unet/config.json"])
@pytest.mark.parametrize(
    ("piece", "start", "told"),
    [
        (b"1\r\n \r\n", None, "comes in pieces of a few bytes, which take too much time"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", b"", "it sends more data around its files than they need"),
    ],
)
def test_a_hub_that_keeps_a_processor_busy_is_refused(
    hub: Hub, part: str, piece: bytes, start: bytes | None, told: str
) -> None:
    hub.answer = flooding(part, piece) if start is None else flooding(part, piece, start=start)
    started = time.process_time()
    message = refusal("org/tiny").message
    assert time.process_time() - started < 10  # the server's part is in it
    assert message.startswith(REFUSED)
    assert message.endswith(told)


def test_a_file_in_small_pieces_is_taken(hub: Hub) -> None:
    body = json.dumps({**UNET, "_": "x" * 2**21}).encode()
    pieces = b"".join(b"200\r\n" + body[at : at + 512].ljust(512) + b"\r\n" for at in range(0, len(body), 512))
    hub.repositories["org/tiny"].files["unet/config.json"] = body + b" " * (-len(body) % 512)

    def answer(request: BaseHTTPRequestHandler, path: str) -> bool:
        if "unet/config.json" not in path:
            return False
        request.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + pieces + b"0\r\n\r\n")
        return True

    hub.answer = answer
    assert pipeline("org/tiny").class_name == "DDPMPipeline"


def test_what_is_refused_does_not_wait_for_what_dawdles(hub: Hub) -> None:
    refusing, slow = (
        sending(b"{}", part="unet/config.json", Content_Encoding="gzip"),
        dripping("scheduler_config.json", head=True),
    )
    hub.answer = lambda request, path: refusing(request, path) or slow(request, path)
    started = time.monotonic()
    assert refusal("org/tiny").message == f"{REFUSED}unet/config.json is packed, although fxprof asked for plain content"
    assert time.monotonic() - started < 10


def test_a_hub_that_dawdles_is_done_without_where_all_was_fetched_before(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    first = pipeline("org/tiny")
    monkeypatch.setenv(SECONDS, "1")
    hub.answer = dripping(INFO, head=True)
    assert pipeline("org/tiny") == first


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_hub_that_wants_to_be_waited_for_is_not(hub: Hub, status: int) -> None:
    hub.answer = sending(b"", status, "/resolve/", Retry_After="1000000", ratelimit='"api";r=0;t=1000000')
    started = time.monotonic()
    side = "Client" if status < 500 else "Server"
    message = refusal("org/tiny").message
    assert f"it could not be fetched from the Hub: HTTPStatusError: {side} error '{status} " in message
    assert time.monotonic() - started < 3


@pytest.mark.parametrize("value", ["0", "-1", "x", "1e9", "9" * 400, ""])
def test_what_is_no_time_is_the_usual_one(hub: Hub, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(SECONDS, value)
    assert pipeline("org/tiny").class_name == "DDPMPipeline"


# --- the command

MODULE = ("-m", "fxprof")


@pytest.mark.parametrize("target", ["org/tiny", "sd-1.5", "a-directory"])
@pytest.mark.parametrize(
    "said",
    [
        ("HF_ENDPOINT", "http://[::1", "no address"),
        ("HF_HUB_ETAG_TIMEOUT", "soon", "no number of seconds"),
        ("HF_HUB_DOWNLOAD_TIMEOUT", "", "no number of seconds"),
    ],
)
def test_a_variable_that_the_client_cannot_read_is_named(
    hub: Hub, tmp_path: Path, target: str, said: tuple[str, str, str]
) -> None:
    name, value, what = said
    (tmp_path / "a-directory").mkdir()
    (tmp_path / "a-directory" / "model_index.json").write_text(json.dumps(INDEX))
    given = str(tmp_path / target) if target == "a-directory" else target
    result = command(hub, tmp_path, "profile", given, "--no-cache", program=MODULE, **{name: value})
    assert (result.returncode, result.stdout) == (3, "")
    assert result.stderr == (f"fxprof: the environment variable {name} is {value!r}, which is {what}\n  try: unset {name}\n")


@pytest.mark.parametrize("value", ["1e", "http://[::1"])
def test_no_value_of_a_variable_is_a_traceback(hub: Hub, tmp_path: Path, value: str) -> None:
    names = ("HF_HOME", "HF_HUB_CACHE", "HF_TOKEN", "HTTP_PROXY", "HF_XET_HIGH_PERFORMANCE")
    result = command(hub, tmp_path, "profile", "org/none", program=MODULE, **dict.fromkeys(names, value), NO_PROXY="")
    assert (result.returncode, result.stdout) == (3, "")
    assert len(result.stderr.splitlines()) == 2


def test_an_error_of_many_lines_is_one_line(hub: Hub, tmp_path: Path) -> None:
    hub.answer = sending(json.dumps({"error": ["\x1b[2J\nline"] * 5000}).encode(), 418, INFO, X_Error_Message="x" * 5000)
    result = command(hub, tmp_path, "profile", "org/tiny")
    assert (result.returncode, result.stdout) == (3, "")
    first, second = result.stderr.splitlines()
    told = "there is no such directory, and it could not be fetched from the Hub: "
    assert first.startswith(f"fxprof: cannot profile 'org/tiny': {told}")
    assert len(first) < 400
    assert second == "  try: check the network, the proxy and HF_ENDPOINT; fetched files need no network later"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (dripping(INFO, head=True), "its answers took more than 2 seconds"),
        (endless("unet/config.json"), "unet/config.json is larger than 64 MiB"),
    ],
)
def test_the_command_ends_in_time(hub: Hub, tmp_path: Path, answer: Answer, told: str) -> None:
    hub.answer = answer
    started = time.monotonic()
    result = command(hub, tmp_path, "profile", "org/tiny", FXPROF_HUB_SECONDS="2")
    assert time.monotonic() - started < 15
    assert (result.returncode, result.stdout) == (3, "")
    assert result.stderr.splitlines()[0].endswith(told)
    assert len(result.stderr.splitlines()) == 2
