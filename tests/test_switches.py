"""What is switched on before the call: from the command line, from Python, in the workload and in the cache's key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import oracle
import pytest
import tiny
from click.testing import CliRunner
from families.packages import allegro, allegro_tiled
from test_pipelines import save_configurations

import fxprof
from fxprof.cli import fxprof as command
from fxprof.errors import UsageError
from fxprof.source.workload import Workload

SMALL: dict[str, Any] = {"height": 64, "width": 64, "steps": 1}
FILM: dict[str, Any] = {"num_frames": 8, "height": 16, "width": 16, "max_sequence_length": 16, "num_inference_steps": 2}


def test_slicing_decodes_image_by_image() -> None:
    pipeline = tiny.make("stable_diffusion")
    profile = fxprof.profile(pipeline, images=2, enable=["vae.slicing"], **SMALL)
    assert [(call.count, call.inputs[0].shape) for call in profile.components["vae"].calls if call.entry == "decoder"] == [
        (2, (1, 4, 32, 32))
    ]
    assert profile.workload["enable"] == "vae.slicing"
    assert not pipeline.vae.use_slicing


def test_what_decodes_only_in_tiles_is_profiled(tmp_path: Path) -> None:
    save_configurations(allegro(), tmp_path)
    profile = fxprof.profile(tmp_path, enable=("vae.tiling",), arguments=FILM)
    real = allegro_tiled()
    real.set_progress_bar_config(disable=True)
    assert profile.macs == oracle.run(real, set(), prompt="a photo of a cat", **FILM).total > 0
    assert profile.total.uncounted == 0


@pytest.mark.slow
def test_the_pipelines_own_switches_have_no_component() -> None:
    known = fxprof.profile(tiny.make("stable_diffusion"), enable="vae.slicing", **SMALL)
    assert fxprof.profile(tiny.make("stable_diffusion"), enable=["attention_slicing"], **SMALL).macs == known.macs


@pytest.mark.parametrize("name", ["vae.tilng", "vae", "unet.tiling", "model_cpu_offload", "freeu", "tiling.vae"])
def test_unknown_names_are_answered_with_what_there_is(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        fxprof.profile(tiny.make("stable_diffusion"), enable=[name], **SMALL)
    assert caught.value.message == f"StableDiffusionPipeline has no switch {name} that could be enabled"
    assert caught.value.hint == "it has vae.slicing, vae.tiling, attention_slicing"


def test_a_component_alone_has_nothing_to_switch_on(tmp_path: Path) -> None:
    tiny.kl_autoencoder().save_config(tmp_path)
    with pytest.raises(UsageError, match=r"^--enable needs a pipeline"):
        fxprof.profile(tmp_path, enable=["tiling"], inputs={"sample": "1x3x32x32"})


@pytest.mark.slow  # test_cli.py has the option, and the next test the key
def test_the_command_line_and_the_cache_tell_them_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FXPROF_CACHE_DIR", str(tmp_path / "kept"))
    save_configurations(tiny.make("stable_diffusion"), tmp_path / "tiny")
    options = ["profile", str(tmp_path / "tiny"), "--height", "64", "--width", "64", "--steps", "1", "--format", "json"]
    plain = json.loads(CliRunner().invoke(command, options).stdout)
    sliced = json.loads(CliRunner().invoke(command, [*options, "--enable", "vae.slicing", "--enable", "vae.tiling"]).stdout)
    assert "enable" not in plain["workload"]
    assert sliced["workload"]["enable"] == "vae.slicing, vae.tiling"
    wrong = CliRunner().invoke(command, [*options, "--enable", "vae.x"])
    assert wrong.exit_code == 2


def test_what_is_enabled_is_part_of_the_key() -> None:
    from fxprof.cache.keys import key_of

    assert key_of("profile", Workload(enable=("vae.tiling",))) != key_of("profile", Workload())
