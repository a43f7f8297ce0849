"""Traces what a training step keeps for its backward pass, on fake tensors: no memory, no arithmetic, no weights.

Two traces. In the first everything trains. In the second all weights are frozen, but the error signal still passes
through the whole model: what comes out of the embeddings' lookups (or an image's projection) needs a gradient, as it
does when a bias at the bottom trains. What the second keeps is static; the rest goes with the weights' gradients and
is dynamic.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from frostline.anatomy.accounting import Accounting, Place, Saved
from frostline.anatomy.batches import example_batch, with_decoder_inputs
from frostline.anatomy.fakes import Fakes, fakes
from frostline.anatomy.inventory import Site, Sites
from frostline.anatomy.operations import operation_name
from frostline.anatomy.recorder import WEIGHTED_OPERATIONS
from frostline.anatomy.target import traced_for
from frostline.errors import UnsupportedModel


def sites(model: nn.Module, batch: Mapping[str, Any] | None = None, *, device: str | None = None) -> Sites:
    """Return every site of `model` in training mode, by two traces on fake tensors.

    Args:
        model: any device, meta included; it is left as it was. Storage that is attached to it counts.
        batch: keyword arguments of one forward pass, with labels to count the loss; read are shapes, dtypes, whether
            the attention mask masks anything, and what tokens decide (see `frostline.anatomy.fakes`). Made up from the
            config when None.
        device: `cpu` or `cuda`, where the step shall run: operations keep different things there. The model's own,
            or the CPU for one on the meta device, when None; it need not be there, see `frostline.anatomy.target`.

    Raises:
        UnsupportedModel: the forward pass cannot run on fake tensors, or the model has no stacks of blocks.
        ConfigError: this torch knows no such device.
    """
    return _Tracer(model, batch, device).sites()


def kept(
    model: nn.Module,
    batch: Mapping[str, Any] | None = None,
    *,
    device: str | None = None,
    trainable: Collection[str] | None = None,
) -> Sites:
    """Return what a step keeps while only the parameters named `trainable` train, by one trace.

    Args:
        model, batch, device: as for `sites`.
        trainable: names of parameters; None for those that require gradients now.

    Raises:
        UnsupportedModel, ConfigError: as for `sites`.
    """
    if trainable is None:
        trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    return _Tracer(model, batch, device).kept(trainable)


class _Tracer:
    def __init__(self, model: nn.Module, batch: Mapping[str, Any] | None, device: str | None) -> None:
        self._model = model
        whole = batch if batch is not None else with_decoder_inputs(model, example_batch(model))
        self._batch = _without_full_mask(model, whole)
        self._target = device or _device_of(model)
        with traced_for(self._target) as place:
            self._device = place

    def sites(self) -> Sites:
        everything = self._trace({name for name, _ in self._model.named_parameters()})
        frozen = self._trace((), bottom=True)
        static = _static_bytes(everything, frozen)
        found = [replace(site, static=static.pop(site.key, 0)) for site in everything.sites()]
        for place, size in static.items():  # what keeps something only while its weights are frozen
            visit = frozen.visits[place]
            found.append(Site(*place, visit.region, visit.block, 0, 0, size))
        return Sites(tuple(found), self._target)

    def kept(self, trainable: Collection[str]) -> Sites:
        return Sites(tuple(self._trace(trainable).sites()), self._target)

    def _trace(self, trainable: Collection[str], *, bottom: bool = False) -> Accounting:
        training = {module: module.training for module in self._model.modules()}
        try:
            self._model.train()
            with traced_for(self._target), fakes() as known, warnings.catch_warnings():
                # Some modules look where their tensors lie; fake ones lie nowhere, which is no answer but no harm.
                warnings.filterwarnings("ignore", "Accessing the data pointer of FakeTensor")
                state = self._state(known, trainable)
                accounting = Accounting(self._model, state.values(), self._device.type)
                lowest = _Bottom(accounting)
                batch = tree_map(lambda value: known.like(value, self._device), self._batch)
                with torch.enable_grad(), accounting:
                    if bottom:
                        with lowest:
                            output = functional_call(self._model, state, (), batch)
                    else:
                        output = functional_call(self._model, state, (), batch)
                del output  # kept alive until here: it holds the graph
        except UnsupportedModel:
            raise
        except Exception as error:
            raise UnsupportedModel(
                f"{type(self._model).__name__}'s training step could not be traced with inputs "
                f"{', '.join(sorted(self._batch))}: {type(error).__name__}: {error}. "
                "A forward pass that depends on the data cannot be traced."
            ) from error
        finally:
            for module, mode in training.items():
                module.training = mode
        if bottom and not lowest.found:
            raise UnsupportedModel(
                f"{type(self._model).__name__}: no lookup or projection was seen before the first block, so what stays "
                "when all is frozen cannot be told."
            )
        return accounting

    def _state(self, known: Fakes, trainable: Collection[str]) -> dict[str, Tensor]:
        state: dict[str, Tensor] = {
            name: known.like(buffer, self._device) for name, buffer in self._model.named_buffers()
        }
        for name, parameter in self._model.named_parameters():
            trains = name in trainable and (parameter.is_floating_point() or parameter.is_complex())
            state[name] = nn.Parameter(known.like(parameter, self._device), requires_grad=trains)
        return state


class _Bottom(TorchFunctionMode):
    """Lets the error signal reach the bottom: before the first block, what weights give needs a gradient; and what is
    looked up between two stacks, as for a decoder.
    """

    def __init__(self, accounting: Accounting) -> None:
        super().__init__()
        self.found = False
        self._accounting = accounting

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = operation_name(func)
        outside = self._accounting.region == "embeddings" or (name == "embedding" and not self._accounting.inside)
        if outside and name in WEIGHTED_OPERATIONS:
            for leaf in tree_leaves(result):
                if isinstance(leaf, Tensor) and torch.is_grad_enabled() and leaf.is_floating_point():
                    self.found = True
                    if not leaf.requires_grad:
                        leaf.requires_grad_()
        return result


def _static_bytes(everything: Accounting, frozen: Accounting) -> dict[Place, int]:
    """Return, by site, the bytes that the frozen trace keeps, each storage at the site where the first trace counts it.

    A storage of one trace is that of the other which the same site keeps with the same shape. One that has none, as
    where an operation keeps another thing while its weight is frozen, counts at its own site.
    """
    waiting: dict[tuple[Place, tuple[Any, ...]], list[Saved]] = defaultdict(list)
    for place, visit in everything.visits.items():
        for saved, shape in visit.saved:
            waiting[place, shape].append(saved)
    taken: set[Saved] = set()
    counterpart: dict[Saved, Saved] = {}
    for place, visit in frozen.visits.items():
        for saved, shape in visit.saved:
            candidates = waiting.get((place, shape), [])
            if candidates:
                candidate = candidates.pop(0)
                if saved not in counterpart and candidate not in taken:
                    counterpart[saved] = candidate
                    taken.add(candidate)
    static: dict[Place, int] = defaultdict(int)
    for saved in {saved: None for visit in frozen.visits.values() for saved, _ in visit.saved}:
        static[counterpart.get(saved, saved).owner] += saved.bytes
    return static


def _without_full_mask(model: nn.Module, batch: Mapping[str, Any]) -> dict[str, Any]:
    """Return the batch without a mask that masks nothing: transformers' models look at its values and drop it."""
    mask = batch.get("attention_mask")
    if hasattr(model, "config") and type(mask) is Tensor and not mask.is_meta and bool(mask.all()):
        return {name: value for name, value in batch.items() if name != "attention_mask"}
    return dict(batch)


def _device_of(model: nn.Module) -> str:
    device = next(model.parameters()).device.type
    return "cpu" if device == "meta" else device
