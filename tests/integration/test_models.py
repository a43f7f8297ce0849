"""The contracts on every architecture: what is frozen stays, gradients and forward passes are stock's, peaks are known.

What is shown here is what docs/models.md says: `python benchmarks/models/run.py` runs this file and writes down, for
each architecture and each contract, that it held, with its figure, or the reason for which it was refused. Each test
compares what it found with what is written there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD

import frostline
from architectures import ARCHITECTURES, NOT_UNDERSTOOD, Architecture
from frostline.anatomy import Anatomy, discover
from frostline.errors import PlanError, UnsupportedModel
from frostline.meter.step_peaks import StepPeaks
from frostline.meter.steps import Run, Steps
from frostline.planner.rehearsal import rehearse
from frostline.storage import PRESETS
from storage_checks import cosine, model_gradients, saved_bytes
from tiny_models import METHOD_IDS, METHOD_SETTINGS, same_bits

RESULTS = Path(__file__).parents[2] / "benchmarks" / "models" / "results" / "models.json"
STORED = [name for name in PRESETS if name != "exact"]
# Of the whole model's gradient, against stock's with the same random numbers.
COSINES = {"lossless": 1 - 1e-12, "compact": 0.998, "slimfit": 0.9, "smallest": 0.995}
PREDICTED: dict[str, dict[str, Any]] = {
    "full, exact": {},
    "full, smallest": {"storage": "smallest"},
    "one block, compact": {"method": "layers", "settings": {"count": 1}, "storage": "compact"},
    "slimfit, lossless": {
        "method": "slimfit",
        "settings": {"rate": 0.75},
        "storage": "lossless",
        "optimizer_state": "release",
    },
}
CHANGING: list[tuple[str, dict[str, Any]]] = [("layers", {"count": 1}), ("bitfit", {}), ("slimfit", {"rate": 0.75})]
# Where scores get a bias that trains, stock's kernel without gradients is another than the one with them.
ROUNDED = {(name, "smallest") for name in ("T5", "T5 v1.1", "T5 for classification", "Swin")}
_NO_PAIR = r"method 'far' needs in every block a pair of Linear layers with only elementwise functions between them"
REFUSED = {
    ("ModernBERT", "far"): _NO_PAIR,  # one Linear gives both the gate and what it scales
    ("BART", "head"): "would train nothing",
}
Shown = Callable[[str, str, str], None]


@pytest.fixture
def shown(record_property: Callable[[str, object], None], pytestconfig: pytest.Config) -> Shown:
    """Return a function that notes what was found, and compares it with what is written down."""

    def note(architecture: str, contract: str, found: str) -> None:
        record_property("shown", (architecture, contract, found))
        if not pytestconfig.pluginmanager.has_plugin("models-recorder"):
            written = json.loads(RESULTS.read_text(encoding="utf-8"))["results"]
            assert _agree(written[architecture][contract], found), "run `python benchmarks/models/run.py`"

    return note


def _agree(written: str, found: str) -> bool:
    """Tell whether two records say the same: figures to 1 of 100 %, as kernels differ between processors."""
    figure = re.compile(r"\d+(?:\.\d+)?")
    near = 1.0 if "%" in written else 0.01
    pairs = zip(figure.findall(written), figure.findall(found), strict=False)
    return figure.sub("", written) == figure.sub("", found) and all(abs(float(a) - float(b)) <= near for a, b in pairs)


@cache
def anatomy_of(name: str) -> Anatomy:
    architecture = ARCHITECTURES[name]
    return discover(architecture.make(), architecture.batch())


def test_every_contract_of_every_architecture_is_written_down(pytestconfig: pytest.Config) -> None:
    if pytestconfig.pluginmanager.has_plugin("models-recorder"):
        pytest.skip("the results are being written")
    written = json.loads(RESULTS.read_text(encoding="utf-8"))["results"]
    contracts = [f"storage {name}" for name in STORED] + [f"method {name}" for name in METHOD_IDS]
    contracts += [f"blocks run again, {method}" for method, _ in CHANGING]
    contracts += ["class", "blocks", "bfloat16", *(f"peak of {case}" for case in PREDICTED)]
    wanted = {name: sorted(contracts) for name in ARCHITECTURES}
    assert {name: sorted(found) for name, found in written.items()} == {
        **wanted,
        **{name: ["all methods", "class"] for name in NOT_UNDERSTOOD},
    }


QUICK = ("BERT", "ALBERT", "ViT", "GPT-2", "Llama", "T5")
"""Those of the default suite: each is the only one of its kind here."""
every_architecture = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in ARCHITECTURES]
)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_anatomy(name: str, shown: Shown) -> None:
    architecture = ARCHITECTURES[name]
    model = architecture.make()
    anatomy = discover(model, architecture.batch())
    parameters = {parameter: tuple(p.shape) for parameter, p in model.named_parameters()}
    others = (*anatomy.unused, *anatomy.frozen)
    assert {**{u.name: u.shape for u in anatomy.units}, **{name: parameters[name] for name in others}} == parameters
    assert len(anatomy.blocks) == architecture.blocks
    assert set(anatomy.unused) <= {"dinov2.embeddings.mask_token"}  # for pretraining alone
    shown(name, "class", type(model).__name__)
    shown(name, "blocks", str(len(anatomy.blocks)))


@pytest.mark.parametrize("name", NOT_UNDERSTOOD)
def test_what_is_not_understood_is_refused_and_left_as_it_was(name: str, shown: Shown) -> None:
    architecture, said = NOT_UNDERSTOOD[name]
    model = architecture.make()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    trainable = [parameter.requires_grad for parameter in model.parameters()]
    with pytest.raises(UnsupportedModel, match=said) as refused:
        frostline.prepare(model, "full", example=architecture.batch())
    assert all(same_bits(value, before[key]) for key, value in model.state_dict().items())
    assert [parameter.requires_grad for parameter in model.parameters()] == trainable
    shown(name, "class", type(model).__name__)
    shown(name, "all methods", f"refused: {refused.value}")


@pytest.mark.parametrize("storage", STORED)
@every_architecture
def test_storage(name: str, storage: str, shown: Shown) -> None:
    architecture, anatomy = ARCHITECTURES[name], anatomy_of(name)
    model, values = architecture.make(), architecture.batch()
    stock = model(**values).logits
    frostline.prepare(model, storage=storage, anatomy=anatomy)
    ours = model(**values).logits
    bits = torch.equal(ours, stock)
    assert bits is not ((name, storage) in ROUNDED)
    torch.testing.assert_close(ours, stock, rtol=1e-5, atol=1e-5)

    model, values = architecture.make(dropout=0.1).double(), architecture.batch(torch.float64)
    torch.manual_seed(5)
    exact = saved_bytes(lambda: model(**values).loss, model)
    logits, exact_gradients = model_gradients(model, values)
    tuner = frostline.prepare(model, storage=storage, anatomy=anatomy)
    kept = saved_bytes(lambda: model(**values).loss, model)
    assert kept < 0.97 * exact
    ours, found = model_gradients(model, values)
    torch.testing.assert_close(ours, logits, rtol=1e-12, atol=1e-12)
    assert cosine(found, exact_gradients) >= COSINES[storage]
    tuner.finish()
    again, after = model_gradients(model, values)
    assert torch.equal(again, logits)
    assert all(torch.equal(after[key], exact_gradients[key]) for key in exact_gradients)
    shown(name, f"storage {storage}", f"{100 * kept / exact:.0f} %" + ("" if bits else ", to rounding"))


@pytest.mark.parametrize(("method", "settings"), METHOD_SETTINGS, ids=METHOD_IDS)
@every_architecture
def test_method(name: str, method: str, settings: dict[str, Any], shown: Shown) -> None:
    """Three steps: frozen weights stay to the bit, all others have stock's gradient, and the plain model comes out."""
    architecture, anatomy = ARCHITECTURES[name], anatomy_of(name)
    contract = f"method {METHOD_IDS[METHOD_SETTINGS.index((method, settings))]}"
    if (name, method) in REFUSED:
        model = architecture.make()
        with pytest.raises((UnsupportedModel, PlanError), match=REFUSED[name, method]) as refused:
            frostline.prepare(model, method, anatomy=anatomy, **settings)
        shown(name, contract, f"refused: {refused.value}")
        return
    _three_steps(architecture, anatomy, method, settings, "exact")
    shown(name, contract, "held")


@pytest.mark.parametrize(("method", "settings"), CHANGING, ids=[method for method, _ in CHANGING])
@every_architecture
def test_method_with_blocks_that_run_again(name: str, method: str, settings: dict[str, Any], shown: Shown) -> None:
    """The same of what a block's second run may mistake: which of its inputs and weights need a gradient."""
    again = {"preset": "lossless", "block": "exact", "loss": "stock"}  # a loss that stock computes in float32
    _three_steps(ARCHITECTURES[name], anatomy_of(name), method, settings, again)
    shown(name, f"blocks run again, {method}", "held")


def _three_steps(
    architecture: Architecture, anatomy: Anatomy, method: str, settings: dict[str, Any], storage: Any
) -> None:
    model, stock = architecture.make().double(), architecture.make().double()
    tuner = frostline.prepare(model, method, anatomy=anatomy, storage=storage, **settings)
    optimizer = SGD(tuner.candidate_parameters(), lr=0.05, momentum=0.9, weight_decay=0.1)
    tuner.attach(optimizer)
    trained, fewest = set(), anatomy.parameter_count
    for index in range(3):
        tuner.before_step()
        if method != "lora":
            stock.load_state_dict(model.state_dict())
        before = {key: p.detach().clone() for key, p in model.named_parameters()}
        values = architecture.batch(torch.float64, index)
        model(**values).loss.backward()
        _, exact = model_gradients(stock, values)
        training = {key for key, p in model.named_parameters() if p.requires_grad}
        if method == "lora":
            if index == 0:
                _require_adapters_gradients(model, exact)
        else:
            _require_exact_gradients(model, stock, exact)
        optimizer.step()
        for key, p in model.named_parameters():
            if key not in training:
                assert p.grad is None
                assert same_bits(p.detach(), before[key]), f"{key} is frozen, and has moved"
        trained |= training
        fewest = min(fewest, tuner.trainable_parameters)
        tuner.after_step()
        optimizer.zero_grad()
    assert trained
    whole = sum(unit.parameter_count for unit in anatomy.units)
    assert fewest == whole if method == "full" else 0 < fewest < whole
    values, names = architecture.batch(torch.float64, 9), list(stock.state_dict())
    model.eval()
    logits = model(**values).logits
    plain = tuner.finish()
    assert list(plain.state_dict()) == names
    torch.testing.assert_close(plain(**values).logits, logits, rtol=1e-10, atol=1e-10)
    stock.load_state_dict(plain.state_dict())
    assert torch.equal(stock.eval()(**values).logits, plain(**values).logits)


def _require_exact_gradients(model: nn.Module, stock: nn.Module, exact: dict[str, Tensor]) -> None:
    """Compare with autograd's of the plain model; of a split layer, with the part that is the learners'."""
    wanted = dict(exact)
    for layer, module in model.named_modules():
        for replacement in getattr(module, "replacements", ()):
            key = next(key for key, p in module.named_parameters(prefix=layer) if p is replacement.new)
            wanted[key] = replacement.take(exact[key])
    for key, p in model.named_parameters():
        if p.requires_grad:
            torch.testing.assert_close(p.grad, wanted[key], rtol=1e-9, atol=1e-12)


def _require_adapters_gradients(model: nn.Module, exact: dict[str, Tensor]) -> None:
    """Compare, before the first step, when B is zero: dB = scale dW A^T, dA = 0; and what else trains, with stock's."""
    for layer, module in model.named_modules():
        if hasattr(module, "lora_A"):
            first, second = module.lora_A["frostline"].weight, module.lora_B["frostline"].weight
            whole = exact[f"{layer}.weight"]
            whole = whole.T if getattr(module, "fan_in_fan_out", False) else whole
            wanted = module.scaling["frostline"] * whole @ first.T
            torch.testing.assert_close(second.grad, wanted, rtol=1e-9, atol=1e-12)
            assert first.grad is None or not first.grad.any()
    for key, p in model.named_parameters():
        if p.requires_grad and ".lora_" not in key:
            torch.testing.assert_close(p.grad, exact[key], rtol=1e-9, atol=1e-12)


@every_architecture
def test_weights_in_bfloat16(name: str, shown: Shown) -> None:
    """One step, three quarters of the units frozen: stock's forward pass, nearly its gradient, and frozen stays."""
    architecture, anatomy = ARCHITECTURES[name], anatomy_of(name)
    model, stock = architecture.make().bfloat16(), architecture.make().bfloat16()
    tuner = frostline.prepare(model, "slimfit", rate=0.75, storage="compact", anatomy=anatomy)
    optimizer = SGD(tuner.candidate_parameters(), lr=0.05, momentum=0.9, weight_decay=0.1)
    tuner.attach(optimizer)
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    tuner.before_step()
    for key, p in stock.named_parameters():  # what is frozen may change which kernel stock's attention takes
        p.requires_grad_(model.get_parameter(key).requires_grad)
    values = architecture.batch(torch.bfloat16)
    logits, exact = model_gradients(stock, values)
    output = model(**values)
    assert torch.equal(output.logits, logits)
    output.loss.backward()
    training = {key: p.grad for key, p in model.named_parameters() if p.requires_grad}
    assert 0 < len(training) < len(before)
    assert cosine(training, exact) > 0.99
    optimizer.step()
    moved = {key for key, p in model.named_parameters() if not same_bits(p.detach(), before[key])}
    assert moved <= training.keys()
    shown(name, "bfloat16", "held")


@pytest.mark.parametrize("case", PREDICTED)
@every_architecture
def test_prediction(name: str, case: str, shown: Shown) -> None:
    architecture, anatomy = ARCHITECTURES[name], anatomy_of(name)
    steps = Steps(name, 32, count=3, **PREDICTED[case])
    values = architecture.batch(examples=32)  # enough for activations to count beside the weights

    def source(_: Steps) -> tuple[Any, dict[str, Tensor]]:
        with torch.device("meta"):
            return architecture.make(dropout=0.1), values

    predicted = rehearse(steps, source=source, anatomy=anatomy).peak
    run = Run(steps, architecture.make(dropout=0.1), dict(values), anatomy)
    with StepPeaks(run.model, "cpu", run.tuner.held()) as peaks:
        for _ in range(steps.count):
            run.step()
            peaks.optimizer_moved(run.optimizer)
            peaks.end_step()
    ratio = peaks.memory()["tensor_peak"] / predicted
    assert 0.95 < ratio < 1.05
    shown(name, f"peak of {case}", f"{ratio:.3f}")
