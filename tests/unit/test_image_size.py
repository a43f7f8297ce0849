"""A model at another size is the model with interpolated positions; its processor gives that size."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from transformers import (
    DeiTConfig,
    DeiTForImageClassification,
    Dinov2Config,
    Dinov2ForImageClassification,
    SwinConfig,
    SwinForImageClassification,
)
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from frostline.errors import ConfigError
from frostline.image_size import fitted, resized, set_processor_size
from frostline.models import Loaded
from tiny_models import family, tiny_bert

SIZES = {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2, "image_size": 16, "patch_size": 8}


def model_of(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    if name == "deit":
        return DeiTForImageClassification(DeiTConfig(**SIZES, intermediate_size=48))
    if name == "dinov2":
        return Dinov2ForImageClassification(Dinov2Config(**SIZES))
    return family("vit")


@pytest.mark.parametrize("name", ["vit", "deit", "dinov2"])
@pytest.mark.parametrize("size", [8, 32, 40])
def test_logits_are_those_of_the_models_own_interpolation(name: str, size: int) -> None:
    model = model_of(name).eval()
    changed = resized("it", model, size)
    pixels = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    own = {} if name == "dinov2" else {"interpolate_pos_encoding": True}  # which always interpolates
    with torch.no_grad():
        torch.testing.assert_close(changed(pixel_values=pixels).logits, model(pixel_values=pixels, **own).logits)
    assert changed.config.image_size == size
    assert model.config.image_size == 16
    assert not changed.training


def test_swin_has_no_positions_to_interpolate() -> None:
    config = SwinConfig(image_size=32, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=2)
    model = SwinForImageClassification(config).eval()
    changed = resized("it", model, 48)
    pixels = torch.randn(1, 3, 48, 48)
    with torch.no_grad():
        torch.testing.assert_close(changed(pixel_values=pixels).logits, model(pixel_values=pixels).logits)


def test_sizes_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"an image size of 20 is refused for model 'it': .* 8 pixels"):
        resized("it", model_of("vit"), 20)
    with pytest.raises(ConfigError, match=r"model 'it' \(bert\) reads texts: it has no image size"):
        resized("it", tiny_bert(), 20)


def test_processors_give_the_size() -> None:
    square = ViTImageProcessorPil(size={"height": 224, "width": 224})
    cropping = BitImageProcessorPil(size={"shortest_edge": 256}, crop_size={"height": 224, "width": 224})
    for processor in (square, cropping):
        set_processor_size(processor, 96)
        pixels = processor(Image.new("RGB", (50, 70)), return_tensors="pt")["pixel_values"]
        assert pixels.shape == (1, 3, 96, 96)
    assert cropping.size["shortest_edge"] == 110  # 256 for 224


def test_model_follows_its_processor_where_nothing_is_asked_for() -> None:
    loaded = Loaded(model_of("vit"), ViTImageProcessorPil(size={"height": 32, "width": 32}), "")
    assert fitted("it", loaded, None).model.config.image_size == 32
    loaded = Loaded(model_of("vit"), ViTImageProcessorPil(size={"height": 16, "width": 16}), "")
    assert fitted("it", loaded, None) is loaded
    with pytest.raises(ConfigError, match="its image processor gives 3 channels of 30 x 40 pixels"):
        fitted("it", Loaded(model_of("vit"), ViTImageProcessorPil(do_resize=False), ""), None)
