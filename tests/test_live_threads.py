"""Several threads: what is lent to a profile waits, what is not goes on, nothing hangs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from torch import nn

import fxprof
from fxprof.errors import UsageError

SIZE: dict[str, Any] = {"height": 64, "width": 64}
LIMIT = 120
"""Seconds after which a thread hangs."""


def quiet(pipeline: Any) -> Any:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def image(pipeline: Any, steps: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    made = pipeline("a cat", **SIZE, num_inference_steps=steps, output_type="pt", generator=generator)
    return torch.as_tensor(made.images)


def meanwhile(*works: Callable[[], Any]) -> list[Any]:
    """What functions return that run at once, or the errors that they raise."""
    results: list[Any] = [None] * len(works)

    def run(at: int, work: Callable[[], Any]) -> None:
        try:
            results[at] = work()
        except Exception as error:  # noqa: BLE001 - it is what the test asks for
            results[at] = error

    threads = [threading.Thread(target=run, args=item, daemon=True) for item in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
        assert not thread.is_alive()
    return results


def macs(pipeline: Any) -> int:
    return fxprof.profile(pipeline, **SIZE, steps=2, prompt="a cat").macs


def known(name: str) -> int:
    """The same of a pipeline with nothing meanwhile."""
    return tiny.profile(name, **SIZE, steps=2, prompt="a cat").macs


def test_two_profiles_of_one_pipeline_and_of_another() -> None:
    one, other = tiny.stable_diffusion(), tiny.flux()
    wanted = [known("stable_diffusion"), known("flux")]
    assert meanwhile(lambda: macs(one), lambda: macs(other), lambda: macs(one)) == [*wanted, wanted[0]]


@pytest.mark.parametrize("delay", [0.3, *(pytest.param(delay, marks=pytest.mark.slow) for delay in (0.0, 1.0))])
def test_a_real_run_meanwhile_waits_and_makes_the_same_image(delay: float) -> None:
    torch.manual_seed(0)
    pipeline = quiet(tiny.stable_diffusion())
    wanted, cost = image(pipeline), known("stable_diffusion")
    begun = threading.Event()

    def run() -> torch.Tensor:
        begun.wait(delay)
        return image(pipeline)

    profiled, made = meanwhile(lambda: macs(pipeline), run)
    assert profiled == cost
    assert torch.equal(made, wanted)


def test_a_real_run_that_began_before_is_let_finish() -> None:
    torch.manual_seed(0)
    pipeline = quiet(tiny.stable_diffusion())
    wanted, cost = image(pipeline, 12), known("stable_diffusion")
    in_it = threading.Event()
    handle = pipeline.unet.conv_in.register_forward_pre_hook(lambda *_: in_it.set())

    def profile() -> int:
        in_it.wait()
        handle.remove()
        return macs(pipeline)

    made, profiled = meanwhile(lambda: image(pipeline, 12), profile)
    assert profiled == cost
    assert torch.equal(made, wanted)


class Threaded(nn.Module):
    """It calls its parts in threads."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(2))

    def forward(self, x: torch.Tensor) -> Any:
        with ThreadPool(2) as pool:
            return sum(pool.map(lambda layer: layer(x), self.layers))


def test_a_module_that_waits_for_its_own_threads_is_refused() -> None:
    with pytest.raises(
        UsageError, match="a thread called Linear while a profile of it, in another thread, waits for that thread"
    ):
        fxprof.profile_module(Threaded(), (torch.randn(2, 8),))


def test_a_profile_asked_for_by_a_thread_that_a_callback_waits_for_is_refused(tmp_path: Path) -> None:
    pipeline = quiet(tiny.stable_diffusion())
    said = tmp_path / "said"  # what a callback keeps in Python is put back

    def after(inner: Any, *_: Any) -> dict[str, Any]:
        if not said.exists():
            (error,) = meanwhile(lambda: macs(inner))
            said.write_text(str(error), encoding="utf-8")
        return {}

    cost = known("stable_diffusion")
    profile = fxprof.profile(pipeline, **SIZE, steps=2, prompt="a cat", arguments={"callback_on_step_end": after})
    assert profile.macs == cost
    assert said.read_text(encoding="utf-8") == (
        "a thread that another profile waits for asked for a profile"
        " (take the call of fxprof out of the module, the hook or the callback)"
    )


def test_what_was_called_by_others_is_as_it_was() -> None:
    class Own(nn.Sequential):
        pass

    before = nn.Module.__call__, nn.Module._apply, torch.Tensor.numpy, torch.Tensor.tolist
    fxprof.profile_module(Own(nn.Linear(8, 8)), (torch.randn(2, 8),))
    assert "__call__" not in vars(Own)
    assert (nn.Module.__call__, nn.Module._apply, torch.Tensor.numpy, torch.Tensor.tolist) == before
