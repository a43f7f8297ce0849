"""Notes, while a forward pass runs, which operation uses which parameter, where, and which weights feed which.

A tensor's origin is the Linear weights upstream of it, and whether only elementwise functions lie between. What is made
of a parameter alone, `1 + weight.float()` or `weight.T`, stands for the parameter.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

# Position of (weight, bias) in the positional arguments of the operations that own weights, with their keyword names.
WEIGHTED_OPERATIONS: dict[str, tuple[int | None, int | None]] = {
    "linear": (1, 2),
    "addmm": (2, 0),
    "layer_norm": (2, 3),
    "rms_norm": (2, None),
    "group_norm": (2, 3),
    "embedding": (1, None),
    "conv1d": (1, 2),
    "conv2d": (1, 2),
}
_LINEAR = frozenset({"linear", "addmm"})
# Elementwise: output feature j depends on input feature j alone, so permuting features commutes with them.
_ELEMENTWISE = frozenset(
    {"gelu", "relu", "silu", "tanh", "sigmoid", "mish", "softplus", "leaky_relu", "elu", "relu6", "erf", "dropout"}
    | {"mul", "add", "sub", "div", "pow", "rsub", "neg", "clamp", "clone", "contiguous", "to"}
)
# What these make of a parameter alone is used as the parameter itself is; `get` is a property, such as `weight.T`.
_STAND_INS = _ELEMENTWISE | frozenset(
    {"float", "double", "half", "bfloat16", "type", "type_as", "get", "getitem", "t", "transpose", "permute"}
    | {"view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "expand", "expand_as", "repeat"}
)
_RESHAPING = frozenset({"view", "reshape", "flatten", "unflatten"})
_SHAPE_ONLY = frozenset(
    {"size", "dim", "numel", "stride", "is_contiguous", "data_ptr"}
    | {"zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like"}
    | {"new_zeros", "new_ones", "new_empty", "new_full"}
)


@dataclass(frozen=True, slots=True)
class Use:
    """One use of a parameter.

    Attributes:
        parameter: its name.
        operation: that used it.
        role: as what: `weight`, `bias` or `operand`.
        entered: how many runs of blocks had begun.
        inside: whether the last of them had not ended.
    """

    parameter: str
    operation: str
    role: str
    entered: int
    inside: bool


@dataclass(slots=True)
class Trace:
    """What one forward pass showed.

    Attributes:
        uses: every use of a parameter, in forward order.
        order: the blocks as they ran, one entry for each run.
        attention: weight name -> the roles it plays in attention (`query`, `key`, `value`, `output`).
        feeds: weight of a Linear -> the weights of those that feed it through elementwise functions only: of one, or of
            two whose outputs are multiplied.
    """

    uses: list[Use] = field(default_factory=list)
    order: list[str] = field(default_factory=list)
    attention: dict[str, set[str]] = field(default_factory=dict)
    feeds: dict[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where a tensor comes from: the Linear weights upstream, and whether only elementwise functions lie between."""

    linears: frozenset[str]
    elementwise: bool
    softmax: bool = False
    attention: bool = False


_NOWHERE = _Origin(frozenset(), False)


class Recorder(TorchFunctionMode):
    def __init__(self, names: dict[int, str]) -> None:
        super().__init__()
        self.trace = Trace()
        self.inside = False
        self._names = names
        self._origins: dict[int, _Origin] = {}
        self._alive: list[Tensor] = []  # an id is only a name while its tensor lives
        self._spoilt: set[str] = set()
        self._unfed: set[str] = set()  # Linears that once read what no Linear feeds elementwise

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = str(getattr(func, "__name__", func)).strip("_").removesuffix("_")
        if name.startswith("r") and name[1:] in _ELEMENTWISE:  # __rmul__, __radd__
            name = name[1:]
        if getattr(func, "__name__", "") in _SHAPE_ONLY:
            return result
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if len(inputs) == 1 and id(inputs[0]) in self._names and name in _STAND_INS:
            self._stand_in(result, self._names[id(inputs[0])])
            return result
        if name == "get":
            return result
        if name == "matmul" and len(inputs) == 2 and id(inputs[1]) in self._names and inputs[1].dim() == 2:
            name = "linear"  # written out, as Falcon's: input @ weight.T
        self._record_uses(name, args, kwargs or {}, inputs)
        if name in _RESHAPING and len(inputs) == 1 and isinstance(result, Tensor) and inputs[0].dim():
            name = "contiguous" if result.shape[-1:] == inputs[0].shape[-1:] else name  # each row of features is whole
        origin = self._origin_of(name, args, kwargs or {}, inputs)
        for output in tree_leaves(result):
            if isinstance(output, Tensor) and id(output) not in self._names:
                self._origins[id(output)] = origin
                self._alive.append(output)
        return result

    def _stand_in(self, result: Any, name: str) -> None:
        """Take what is made of a parameter alone, `1 + weight.float()` or `bias[None]` say, for the parameter."""
        if isinstance(result, Tensor):
            self._names[id(result)] = name
            self._alive.append(result)

    def _record_uses(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], inputs: list[Tensor]) -> None:
        roles: dict[int, str] = {}
        if name in WEIGHTED_OPERATIONS:
            for role, position in zip(("weight", "bias"), WEIGHTED_OPERATIONS[name], strict=True):
                operand = _operand(args, kwargs, position, role)
                if operand is not None:
                    roles[id(operand)] = role
        for tensor in inputs:
            if id(tensor) in self._names:
                role = roles.get(id(tensor), "operand")
                self.trace.uses.append(Use(self._names[id(tensor)], name, role, len(self.trace.order), self.inside))

    def _origin_of(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], inputs: list[Tensor]) -> _Origin:
        origins = [self._origins[id(t)] for t in inputs if id(t) in self._origins]
        if name in _LINEAR:
            weight = _operand(args, kwargs, WEIGHTED_OPERATIONS[name][0], "weight")
            source = self._origins.get(id(_operand(args, kwargs, 1 if name == "addmm" else 0, "input")), _NOWHERE)
            return self._linear(self._names.get(id(weight), ""), source)
        if name == "scaled_dot_product_attention":
            for role, tensor in zip(("query", "key", "value"), inputs, strict=False):
                self._attend(role, self._origins.get(id(tensor), _NOWHERE))
            return _Origin(frozenset(), False, attention=True)
        if name in ("matmul", "bmm") and len(origins) == 2:
            first, second = origins
            if first.softmax and not second.softmax:
                self._attend("value", second)
                return _Origin(frozenset(), False, attention=True)
            if len(first.linears) == len(second.linears) == 1 and not first.softmax:
                self._score(first, second)
        linears = frozenset(itertools.chain.from_iterable(o.linears for o in origins))
        gates = name == "mul" and [len(o.linears) for o in origins] == [1, 1]
        elementwise = (
            name in _ELEMENTWISE
            and bool(linears)
            and (gates or len({o.linears for o in origins}) == 1)
            and all(o.elementwise for o in origins)
            and not any(id(t) in self._names for t in inputs)
        )
        if not elementwise:  # someone looks across the features: their order matters to him
            self._spoilt.update(*(o.linears for o in origins if o.elementwise))
        return _Origin(
            linears,
            elementwise,
            softmax=name == "softmax" or any(o.softmax for o in origins),
            attention=bool(origins) and all(o.attention for o in origins),
        )

    def _linear(self, weight: str, source: _Origin) -> _Origin:
        if source.attention:
            self.trace.attention.setdefault(weight, set()).add("output")
        feeders = source.linears if source.elementwise else frozenset[str]()
        if not feeders or self.trace.feeds.setdefault(weight, feeders) != feeders:
            self._unfed.add(weight)
        return _Origin(frozenset({weight}), True)

    def _score(self, first: _Origin, second: _Origin) -> None:
        """Note whose product may become scores. The first product tells query from key: in a later one they may have
        changed sides, as in DeBERTa's scores of positions by contents.
        """
        for role, other, origin in (("query", "key", first), ("key", "query", second)):
            (weight,) = origin.linears
            if first.linears == second.linears or other not in self.trace.attention.get(weight, ()):
                self._attend(role, origin)

    def _attend(self, role: str, origin: _Origin) -> None:
        for weight in origin.linears:
            self.trace.attention.setdefault(weight, set()).add(role)

    def finish(self) -> Trace:
        spoilt = self._spoilt
        self.trace.feeds = {w: f for w, f in self.trace.feeds.items() if not f & spoilt and w not in self._unfed}
        return self.trace


def _operand(args: Sequence[Any], kwargs: Mapping[str, Any], position: int | None, keyword: str) -> Any:
    if position is None:
        return None
    return args[position] if position < len(args) else kwargs.get(keyword)
