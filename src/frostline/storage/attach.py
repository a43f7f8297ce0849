"""Puts storage on a live model and takes it off again.

A module's class changes to a subclass that keeps less (as torch.nn.utils.parametrize does), so its parameters, names,
hooks and state_dict stay; attention goes through transformers' AttentionInterface.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from frostline.anatomy import Anatomy
from frostline.errors import ConfigError, FrostlineError, StorageError, nearest
from frostline.storage import codecs
from frostline.storage.choice import STOCK, Storage, require_module_way
from frostline.storage.operations.activation import StoredActivation, activation_way
from frostline.storage.operations.attention import NAME, AttentionStorage
from frostline.storage.operations.dropout import StoredDropout
from frostline.storage.operations.linear import StoredConv1D, StoredLinear
from frostline.storage.operations.norm import StoredLayerNorm, StoredRMSNorm
from frostline.storage.operations.recompute import StoredBlock
from frostline.storage.operations.swiglu import StoredGatedMLP
from frostline.storage.recognise import chunked_loss, consumer, kinds
from frostline.storage.unread import Trials

_ATTENTION = "_frostline_attention"


class Attached:
    """Storage on a model.

    Args:
        model: with the method's structure (LoRA's adapters) on it already.
        anatomy: of the model when it was plain.
        storage: what is kept, and how.

    Raises:
        ConfigError: storage is asked for a module that keeps nothing, or in a way that its operation does not know;
            or blocks would be run again in backward twice.
        StorageError: a module's forward function has been replaced, so that storage would be bypassed.
    """

    def __init__(self, model: nn.Module, anatomy: Anatomy, storage: Storage) -> None:
        self._model, self._anatomy, self._storage = model, anatomy, storage
        self._plain: dict[nn.Module, type[nn.Module]] = {}
        self._attention: str | None = None
        self._loss: Callable[..., Any] | None = None
        self._trials: Trials = {}
        self._require_known()
        try:
            self.refresh()
            self._require_one_recompute()
        except FrostlineError:
            self.detach()
            raise

    @property
    def recomputes(self) -> bool:
        """Whether any block is run again in backward."""
        return any(isinstance(module, StoredBlock) for module in self._plain)

    def refresh(self) -> None:
        """Put storage on what has come to the model since; call it after a change of structure."""
        for module in self._plain:
            vars(module).pop("_unread", None)  # another structure may read what the old one did not
        for name, module, kind in list(kinds(self._model, self._anatomy)):
            way = self._storage.of_module(name, kind)
            if way == STOCK or (module in self._plain and kind != "loss"):
                continue
            self._put(name, module, kind, way)

    def detach(self) -> None:
        """Give every module its own class back."""
        for module, cls in self._plain.items():
            module.__class__ = cls
            for attribute in (
                "_storage",
                "_storage_frozen",
                "_site",
                "_consumer_trains",
                "_unread",
                "_trials",
                _ATTENTION,
            ):
                module.__dict__.pop(attribute, None)
        self._plain.clear()
        model: Any = self._model
        if self._attention is not None:
            model.set_attn_implementation(self._attention)
            self._attention = None
        if self._loss is not None:
            model.loss_function, self._loss = self._loss, None

    def _put(self, name: str, module: nn.Module, kind: str, way: str) -> None:
        if kind == "loss":
            self._put_loss()
        elif "forward" in vars(module):
            raise StorageError(
                f"{name}: its forward function has been replaced (a hook of accelerate's, or another wrapper), so "
                f"storage={way!r} would be bypassed; unwrap the model first, or set this module to 'stock'."
            )
        elif kind == "attention":
            self._put_attention(name, module, way)
        elif hasattr(module, "keeps_as_linear"):  # a split Linear keeps as it is told
            vars(module).update(_storage=codecs.get(way), _site=name)
            self._plain[module] = type(module)
        elif kind in ("linear", "ffn_out"):
            linear = StoredConv1D if isinstance(module, Conv1D) else StoredLinear
            self._swap(module, linear, _storage=codecs.get(way), _site=name)
        elif kind == "norm":
            frozen = codecs.get(self._frozen(name, kind, way))
            mixin = StoredRMSNorm if isinstance(module, nn.RMSNorm) else StoredLayerNorm
            self._swap(module, mixin, _storage=codecs.get(way), _storage_frozen=frozen, _site=name)
        elif kind == "dropout":
            self._swap(module, StoredDropout, _storage=way)
        elif kind == "gated":
            self._swap(module, StoredGatedMLP, _storage=codecs.get(way), _site=name)
        elif kind == "block":
            self._swap(module, StoredBlock, _storage=codecs.get(way), _site=name, _trials=self._trials)
        else:
            frozen_way = activation_way(self._frozen(name, kind, way))
            self._swap(
                module,
                StoredActivation,
                _storage=activation_way(way),
                _storage_frozen=frozen_way,
                _site=name,
                _consumer_trains=consumer(self._model, self._anatomy, name),
            )

    def _frozen(self, name: str, kind: str, way: str) -> str:
        """Return the way for while the weight is frozen; what is said of the module itself holds for both."""
        frozen = self._storage.of_module(name, f"{kind}_frozen")
        return way if frozen == STOCK else frozen

    def _swap(self, module: nn.Module, mixin: type[nn.Module], **attributes: Any) -> None:
        self._plain[module] = type(module)
        module.__class__ = _stored_class(mixin, type(module))
        vars(module).update(attributes)

    def _put_attention(self, name: str, module: nn.Module, way: str) -> None:
        model: Any = self._model
        if self._attention is None:
            current = getattr(getattr(model, "config", None), "_attn_implementation", None)
            if current != "sdpa" or not model._can_set_attn_implementation():
                return  # another kernel, or the model's own: its results are its own, so it keeps what it keeps
            self._attention = current
            model.set_attn_implementation(NAME)
        probabilities = way == "probabilities"
        codec = codecs.get("fixed3.4" if probabilities else way)
        dropout = self._storage.of_module(name, "dropout")
        storage = AttentionStorage(
            codec,
            "probabilities" if probabilities else "inputs",
            name,
            "mask" if dropout == "mask" else "replay",
        )
        vars(module)[_ATTENTION] = storage
        self._plain[module] = type(module)

    def _put_loss(self) -> None:
        model: Any = self._model
        if self._loss is None:
            self._loss = model.loss_function
            model.loss_function = chunked_loss(model)

    def _require_one_recompute(self) -> None:
        if self.recomputes and any(getattr(m, "gradient_checkpointing", False) for m in self._model.modules()):
            raise ConfigError(
                "the model has transformers' gradient checkpointing on, and storage would run its blocks again in "
                "backward as well; call model.gradient_checkpointing_disable(), or set storage of 'block' to 'stock'."
            )

    def _require_known(self) -> None:
        """Refuse an entry for a module that is not there, or in a way that its operation does not know."""
        known = {name: kind for name, _, kind in kinds(self._model, self._anatomy)}
        for pattern, way in self._storage.by_module:
            matching = {name: kind for name, kind in known.items() if Storage.fits(name, pattern)}
            if not matching:
                raise ConfigError(
                    f"storage names {pattern!r}, but no such module keeps anything{nearest(pattern, known)}"
                )
            for kind in set(matching.values()):
                require_module_way(kind, way)


_stored_classes: dict[tuple[type[nn.Module], type[nn.Module]], type[nn.Module]] = {}


def _stored_class(mixin: type[nn.Module], cls: type[nn.Module]) -> type[nn.Module]:
    key = mixin, cls
    if key not in _stored_classes:
        _stored_classes[key] = type(f"Stored{cls.__name__}", key, {"stands_for": cls})
    return _stored_classes[key]
