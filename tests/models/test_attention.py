"""cuDNN's attention is left out on GPUs alone, and only while an encoder computes."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.builders import tiny_encoder
from tocsin.models import encoders, surgery
from tocsin.models.attention import no_plan_per_shape


def test_cudnn_is_left_out_on_a_gpu_and_comes_back() -> None:
    allowed = torch.backends.cuda.cudnn_sdp_enabled
    before = allowed(), torch.backends.cuda.flash_sdp_enabled(), torch.backends.cuda.math_sdp_enabled()
    assert before == (True, True, True)
    with no_plan_per_shape(torch.device("cuda")):
        assert not allowed()
        assert torch.backends.cuda.flash_sdp_enabled()
        assert torch.backends.cuda.mem_efficient_sdp_enabled()
        assert torch.backends.cuda.math_sdp_enabled()
    assert (
        allowed(),
        torch.backends.cuda.flash_sdp_enabled(),
        torch.backends.cuda.math_sdp_enabled(),
    ) == before


def test_a_processor_is_left_alone() -> None:
    with no_plan_per_shape(torch.device("cpu")):
        assert torch.backends.cuda.cudnn_sdp_enabled()


def test_encoders_compute_within_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[torch.device] = []

    def noted(device: torch.device) -> AbstractContextManager[Any]:
        asked.append(device)
        return nullcontext()

    monkeypatch.setattr(encoders, "no_plan_per_shape", noted)
    encoder = encoders.TransformerEncoder(str(tiny_encoder(tmp_path, "distilbert")))  # one that is padded
    ids_BT = torch.full((2, 3), 5)
    encoder(ids_BT, torch.ones_like(ids_BT))
    assert asked == [torch.device("cpu")]


@pytest.mark.parametrize("again", [False, True])
def test_a_layer_that_is_computed_again_takes_the_same_kernels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    """As on a GPU, on which the second computation would draw other random numbers with another kernel."""
    allowed: list[bool] = []
    attend = torch.nn.functional.scaled_dot_product_attention

    def noted(*args: Any, **options: Any) -> torch.Tensor:
        allowed.append(torch.backends.cuda.cudnn_sdp_enabled())
        return attend(*args, **options)

    def as_on_a_gpu(device: torch.device) -> AbstractContextManager[Any]:
        return no_plan_per_shape(torch.device("cuda"))

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", noted)
    monkeypatch.setattr(encoders, "no_plan_per_shape", as_on_a_gpu)
    monkeypatch.setattr(surgery, "no_plan_per_shape", as_on_a_gpu)
    encoder = encoders.TransformerEncoder(str(tiny_encoder(tmp_path)), gradient_checkpointing=again)
    encoder.load()
    encoder._packs = False  # as on a GPU
    encoder.train()
    encoder.model.train()
    ids_BT = torch.full((2, 3), 5)
    encoder(ids_BT, torch.ones_like(ids_BT)).sum().backward()
    assert allowed == [False] * (4 if again else 2)  # two layers
    assert torch.backends.cuda.cudnn_sdp_enabled()
