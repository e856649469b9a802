"""Targets on the Hub: the real client against a stand-in for the Hub on this machine."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_server import Hub, Repository, serving
from huggingface_hub import constants

from fxprof.errors import TargetError
from fxprof.source import ComponentConfig, PipelineConfig, SingleComponent, resolve
from fxprof.source.hub import is_hub_id

INDEX: dict[str, Any] = {
    "_class_name": "DDPMPipeline",
    "unet": ["diffusers", "UNet2DModel"],
    "scheduler": ["diffusers", "DDPMScheduler"],
}
UNET = {
    "_class_name": "UNet2DModel",
    "sample_size": 8,
    "block_out_channels": [8, 16],
    "norm_num_groups": 4,
    "layers_per_block": 1,
    "down_block_types": ["DownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "UpBlock2D"],
    "attention_head_dim": 4,
}
NEVER = (
    "unet/diffusion_pytorch_model.safetensors",
    "unet/diffusion_pytorch_model.bin",
    "unet/diffusion_pytorch_model.safetensors.index.json",
    "pytorch_model.bin.index.json",
    "pipeline.py",
    "README.md",
    "onnx/unet/deep/config.json",
    "model.ckpt",
)


def files(index: dict[str, Any] | None = None) -> dict[str, bytes]:
    described = {
        "model_index.json": index or INDEX,
        "unet/config.json": UNET,
        "scheduler/scheduler_config.json": {"_class_name": "DDPMScheduler"},
        "tokenizer/merges.txt": {},
        "tokenizer/spiece.model": {},
    }
    weights = dict.fromkeys(NEVER, b"\x80\x04never")
    return {**weights, **{name: json.dumps(values).encode() for name, values in described.items()}}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub with a pipeline, which the client in this process talks to; nothing is cached yet."""
    with serving(Hub({"org/tiny": Repository(files())})) as made:
        for name, value in environment(made, tmp_path).items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        use(made.endpoint, monkeypatch)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "home" / "token"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield made


def use(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")


def environment(hub: Hub, home: Path) -> dict[str, str]:
    return {
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(home / "home"),
        "NO_PROXY": "127.0.0.1",
    }


def refusal(target: str) -> TargetError:
    with pytest.raises(TargetError) as caught:
        resolve(target)
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value)
    return caught.value


def pipeline(target: str) -> PipelineConfig:
    found = resolve(target)
    assert isinstance(found, PipelineConfig)
    return found


# --- what is fetched


def test_a_pipeline_is_read_and_its_weights_stay_where_they_are(hub: Hub, tmp_path: Path) -> None:
    found = pipeline("org/tiny")
    assert (found.name, found.class_name, found.hub_id) == ("org/tiny", "DDPMPipeline", "org/tiny")
    unet = found.components["unet"]
    assert unet is not None
    assert unet.values["block_out_channels"] == [8, 16]
    assert hub.requested() == {"model_index.json", "unet/config.json", "scheduler/scheduler_config.json"}
    assert not [path for path in tmp_path.rglob("*") if path.suffix in {".safetensors", ".bin", ".py", ".ckpt"}]


def test_a_revision_is_another_commit(hub: Hub) -> None:
    hub.repositories["org/tiny"].revisions["refs/pr/7"] = "2" * 40
    found = pipeline("org/tiny@refs/pr/7")
    assert (found.name, found.hub_id) == ("org/tiny@refs/pr/7", "org/tiny")
    unet = found.components["unet"]
    assert unet is not None
    assert unet.directory is not None
    assert unet.directory.parent.name == "2" * 40
    assert pipeline(f"org/tiny@{'2' * 40}").name == f"org/tiny@{'2' * 40}"


def test_one_component_can_be_a_repository(hub: Hub) -> None:
    config = json.dumps({"architectures": ["CLIPTextModel"], "hidden_size": 8}).encode()
    hub.repositories["org/clip"] = Repository({"config.json": config, "model.safetensors": b""})
    found = resolve("org/clip")
    assert isinstance(found, SingleComponent)
    directory = found.component.directory
    values = {"architectures": ["CLIPTextModel"], "hidden_size": 8}
    assert found == SingleComponent("org/clip", ComponentConfig("transformers", "CLIPTextModel", values, directory))


def test_the_second_time_needs_no_file_and_no_network(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = pipeline("org/tiny")
    hub.requests.clear()
    assert pipeline("org/tiny") == first
    assert {method for method, _, _ in hub.requests} <= {"GET", "HEAD"}
    assert len(hub.requests) <= 2
    hub.status = 503
    assert pipeline("org/tiny") == first
    use("http://127.0.0.1:9", monkeypatch)  # where nobody listens
    assert pipeline("org/tiny") == first
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert pipeline("org/tiny") == first


def test_what_another_program_fetched_is_enough_without_a_network(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    wanted = ["model_index.json", "unet/*", "scheduler/*"]
    for name in [name for name in files() if name == wanted[0] or name.split("/")[0] in {"unet", "scheduler"}]:
        huggingface_hub.hf_hub_download("org/tiny", name)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert pipeline("org/tiny").class_name == "DDPMPipeline"


def test_nothing_else_is_asked_of_the_hub(hub: Hub) -> None:
    pipeline("org/tiny")
    assert all(path.startswith(("/api/models/org/tiny", "/org/tiny/resolve/")) for _, path, _ in hub.requests)


def test_a_token_is_sent(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repositories["org/tiny"].token = "hf_secret"
    assert "a private one" in refusal("org/tiny").message
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.requests.clear()
    assert pipeline("org/tiny").class_name == "DDPMPipeline"
    assert {token for _, _, token in hub.requests} == {"hf_secret"}


def test_a_directory_comes_before_the_hub(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "org" / "tiny").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert "it has no model_index.json" in refusal("org/tiny").message
    (tmp_path / "org" / "tiny" / "config.json").write_text(json.dumps(UNET))
    assert isinstance(resolve("org/tiny"), SingleComponent)
    assert hub.requests == []


def test_the_client_s_settings_are_as_before(hub: Hub) -> None:
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled

    before = are_progress_bars_disabled(), logging.getLogger("huggingface_hub").level
    resolve("org/tiny")
    refusal("org/gone")
    assert (are_progress_bars_disabled(), logging.getLogger("huggingface_hub").level) == before


# --- what goes wrong


def test_a_repository_that_is_not_there_or_private(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = "cannot profile 'org/gone': there is no such directory, and the Hub has no such repository, or a private one"
    assert refusal("org/gone").message == expected
    monkeypatch.setenv("HF_TOKEN", "hf_mine")  # then the Hub says 404 instead of 401
    error = refusal("org/gone")
    assert (error.message, error.hint) == (expected, "check the name; for a private repository, set HF_TOKEN")


@pytest.mark.parametrize("token", ["", "hf_other"])
def test_a_gated_repository(hub: Hub, monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    hub.repositories["org/tiny"] = Repository(files(), token="hf_secret", gated=True)
    monkeypatch.setenv("HF_TOKEN", token)
    error = refusal("org/tiny")
    assert error.message == "cannot profile 'org/tiny': it is gated, and access was not granted"
    assert error.hint == "accept the licence on the model's page, and set HF_TOKEN to a token of that account"


def test_a_revision_that_is_not_there(hub: Hub) -> None:
    error = refusal("org/tiny@v9")
    assert error.message == "cannot profile 'org/tiny@v9': the repository has no revision 'v9'"
    assert error.hint == "name a branch, a tag or a commit after the @"


def test_offline_and_not_cached(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    error = refusal("org/tiny")
    assert "the Hub is switched off by HF_HUB_OFFLINE, and it is not in the cache" in error.message
    assert hub.requests == []


def test_nobody_listens(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    use("http://127.0.0.1:9", monkeypatch)
    error = refusal("org/tiny")
    assert "it could not be fetched from the Hub: ConnectError: " in error.message
    assert error.hint.startswith("check the network")


def test_a_hub_that_never_answers(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.stalls = True
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 1)
    started = time.monotonic()
    assert "it could not be fetched from the Hub: ReadTimeout" in refusal("org/tiny").message
    assert time.monotonic() - started < 5


def test_a_hub_that_is_ill(hub: Hub) -> None:
    hub.status = 500
    assert "it could not be fetched from the Hub: " in refusal("org/tiny").message


def test_a_token_that_the_hub_does_not_know(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_old")
    monkeypatch.setattr(hub, "status", 401)
    assert refusal("org/tiny").message == "cannot profile 'org/tiny': the Hub does not accept the token"


@pytest.mark.parametrize("listed", [{}, {"README.md": b"", "model.safetensors": b""}])
def test_a_repository_of_something_else(hub: Hub, listed: dict[str, bytes]) -> None:
    hub.repositories["org/data"] = Repository(listed)
    error = refusal("org/data")
    inside = ", ".join(listed) or "nothing"
    expected = f"cannot profile 'org/data': the repository has neither a model_index.json nor a config.json; in it: {inside}"
    assert error.message == expected


def test_a_name_that_no_repository_has(hub: Hub) -> None:
    assert "no repository can have this name" in refusal("org/a--b").message
    assert hub.requests == []


def test_a_bundled_model_is_offered(hub: Hub) -> None:
    assert refusal("black-forest-labs/flux.1-dev@main").hint.endswith("; or profile the bundled model 'flux.1-dev'")


def test_broken_files_are_named_by_their_place_in_the_repository(hub: Hub, tmp_path: Path) -> None:
    hub.repositories["org/tiny"].files["unet/config.json"] = b"{"
    error = refusal("org/tiny")
    assert error.message.startswith("cannot read org/tiny/unet/config.json: it is not JSON")
    assert str(tmp_path) not in str(error)


def test_an_incomplete_cache_does_not_hide_why_it_was_needed(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    huggingface_hub.hf_hub_download("org/tiny", "model_index.json")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in refusal("org/tiny").message


# --- remote code


@pytest.mark.parametrize(
    ("index", "reason"),
    [
        ({**INDEX, "_class_name": ["pipeline", "MyPipeline"]}, "`_class_name` names a class of the repository"),
        ({**INDEX, "unet": ["my_unet", "MyUNet"]}, "the component 'unet' is defined in org/code/my_unet.py"),
    ],
)
def test_code_is_refused_and_not_fetched(hub: Hub, index: dict[str, Any], reason: str) -> None:
    hub.repositories["org/code"] = Repository({**files(index), "my_unet.py": b"raise SystemExit"})
    error = refusal("org/code")
    assert error.message.startswith(f"cannot profile org/code: {reason}")
    assert error.message.endswith("remote code is never run")
    assert not [name for name in hub.requested() if name.endswith(".py")]


# --- the command


def command(
    hub: Hub, home: Path, *arguments: str, program: tuple[str, str] = ("-m", "fxprof"), **variables: str
) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return subprocess.run(
        [sys.executable, *program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        encoding="utf-8",
        timeout=120,
        env={**inherited, **environment(hub, home), **variables},
    )


def test_the_command_profiles_a_repository_and_then_does_so_offline(hub: Hub, tmp_path: Path) -> None:
    result = command(hub, tmp_path, "profile", "org/tiny@main", "--steps", "2", "--format", "json")
    assert (result.returncode, result.stderr) == (0, "")
    found = json.loads(result.stdout)
    assert found["target"] == "org/tiny@main"
    assert found["macs"] > 0
    assert str(tmp_path) not in result.stdout
    hub.requests.clear()
    for options in (("--no-cache",), ()):
        again = command(
            hub, tmp_path, "profile", "org/tiny@main", "--steps", "2", "--format", "json", *options, HF_HUB_OFFLINE="1"
        )
        assert (again.returncode, again.stdout) == (0, result.stdout)
        assert hub.requests == []


@pytest.mark.slow  # test_cache.py has a quick test of the same for a directory
def test_a_second_command_on_a_repository_imports_no_torch(hub: Hub, tmp_path: Path) -> None:
    arguments = ("profile", "org/tiny", "--steps", "1", "--format", "json")
    first = command(hub, tmp_path, *arguments)
    watched = "import sys; from fxprof.cli import main; sys.modules['torch'] = None; main()"
    again = command(hub, tmp_path, *arguments, program=("-c", watched))
    assert (again.returncode, again.stdout, again.stderr) == (0, first.stdout, "")


def test_the_command_tells_in_a_line_what_went_wrong(hub: Hub, tmp_path: Path) -> None:
    result = command(hub, tmp_path, "profile", "org/gone")
    assert (result.returncode, result.stdout) == (3, "")
    assert result.stderr.splitlines() == [
        "fxprof: cannot profile 'org/gone': there is no such directory, and the Hub has no such repository, or a private one",
        "  try: check the name; for a private repository, set HF_TOKEN",
    ]


# --- names


@pytest.mark.parametrize("text", ["org/name", "org/name@v1", "org/name@refs/pr/1", "o-1/n.a_me-2@0123abc"])
def test_hub_ids(text: str) -> None:
    assert is_hub_id(text)


@pytest.mark.parametrize("text", ["name", "a/b/c", "./name", "../name", "/org/name", "org/name@", "org/", "~/name", "a b/c"])
def test_what_is_no_hub_id(text: str) -> None:
    assert not is_hub_id(text)


def test_chat_templates_are_fetched_with_the_vocabulary(hub: Hub) -> None:
    repository = hub.repositories["org/tiny"]
    index = json.loads(repository.files["model_index.json"])
    index["tokenizer"] = ["transformers", "CLIPTokenizer"]
    index["unet"] = index.get("unet", ["diffusers", "UNet2DModel"])
    templates = ("tokenizer/chat_template.jinja", "tokenizer/additional_chat_templates/tool.jinja")
    others = ("unet/chat_template.jinja", "tokenizer/other/x.jinja", "tokenizer/additional_chat_templates/a/b.jinja")
    repository.files |= {"model_index.json": json.dumps(index).encode(), "tokenizer/tokenizer_config.json": b"{}"}
    repository.files |= dict.fromkeys((*templates, *others), b"{{ messages }}")
    part = pipeline("org/tiny").components["tokenizer"]
    assert part is not None
    assert part.directory is not None
    assert (part.directory / "chat_template.jinja").read_bytes() == b"{{ messages }}"
    assert hub.requested() & {*templates, *others} == set(templates)


def test_a_repository_of_a_modular_pipeline_is_refused_by_name(hub: Hub) -> None:
    specs = {"unet": ["diffusers", "UNet2DModel", {"pretrained_model_name_or_path": "org/whole"}]}
    hub.repositories["org/blocks"] = Repository({"modular_model_index.json": json.dumps(specs).encode(), "block.py": b""})
    error = refusal("org/blocks")
    assert error.message == (
        "cannot profile org/blocks: a modular_model_index.json describes blocks, not a pipeline that could be called"
    )
    assert "name the pipeline that its components come from (org/whole)" in error.hint
