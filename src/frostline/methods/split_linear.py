"""Linear layers split into learner and frozen nodes, for FAR (arXiv 2205.01541, "reconfigure").

Learners and frozen nodes each are one contiguous tensor. The two lie side by side in one storage, so the forward
pass and the error signal stay one matrix product each, as large as before and no slower; the weight's gradient, and
so the optimizer's state, exists for the learners alone.

    SplitRows      learners are output features: rows of W. The gradient needs the whole input.
    SplitColumns   learners are input features: columns of W. The gradient needs only the learners' inputs.

To the outside both are the Linear they replace, an nn.Linear or GPT-2's Conv1D: `state_dict()` and `load_state_dict()`
speak of the original names, shapes and order, so that every checkpoint is a plain model's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frostline.anatomy.linears import Linear, by_rows, features
from frostline.methods.base import Replacement
from frostline.storage.codecs import Codec, Exact
from frostline.storage.first_order import first_order
from frostline.storage.kept import Kept, keep, keep_shared, offered
from frostline.storage.precision import compute_dtype, without_autocast


class _Split(nn.Module, ABC):
    """What both splits share: the storage, the way back, and the plain face to the outside.

    `nodes` is the whole weight with a node in each row, learners first; `weight`, the parameter, is its upper part.
    What the gradient needs of the input waits as `_storage` says.
    """

    keeps_as_linear = True  # so that storage finds it
    _storage: Codec = Exact()
    _site = "split"

    nodes: Tensor
    order: Tensor
    inverse: Tensor
    weight: nn.Parameter
    bias: nn.Parameter | None
    replacements: list[Replacement]

    def __init__(self, linear: Linear, learners: Sequence[int], count: int) -> None:
        super().__init__()
        self.in_features, self.out_features = features(linear)
        self.training = linear.training
        self.learner_count = len(learners)
        chosen = set(learners)
        order = [*sorted(chosen), *(j for j in range(count) if j not in chosen)]
        self.register_buffer("order", torch.tensor(order, device=linear.weight.device), persistent=False)
        self.register_buffer("inverse", torch.argsort(self.order), persistent=False)
        # The plain layer waits here, in a tuple so that it is not registered, its own Parameter objects emptied.
        self._plain = (linear,)

    def _take_over(self, nodes: Tensor) -> Replacement:
        """Adopt `nodes` (a node a row, learners first) and empty the plain layer's weight."""
        old = self._plain[0].get_parameter("weight")
        self.register_buffer("nodes", nodes, persistent=False)
        learns = old.requires_grad and self.learner_count > 0
        self.weight = nn.Parameter(self.nodes[: self.learner_count], requires_grad=learns)
        replacement = Replacement(old, self.weight, tuple(old.shape), self._learners_of)
        _empty(old)
        return replacement

    @abstractmethod
    def _learners_of(self, weight: Tensor) -> Tensor:
        """Return the learners' part of a tensor that lies like a plain weight."""

    def _together(self) -> Tensor:
        """Return `nodes`, with the parameter its upper part again if a move or a cast has parted them."""
        if self.learner_count and self.weight.data_ptr() != self.nodes.data_ptr():
            with torch.no_grad():
                self.nodes = self.nodes.to(self.weight.device, self.weight.dtype)
                self.nodes[: self.learner_count].copy_(self.weight)
                self.weight.data = self.nodes[: self.learner_count]
        return self.nodes

    @abstractmethod
    def plain_tensors(self) -> dict[str, Tensor]:
        """Return weight and bias as the plain layer has them: original order and shapes, new tensors."""

    @abstractmethod
    def adopt(self, tensors: dict[str, Tensor]) -> None:
        """Take up a plain layer's weight and bias."""

    def _by_rows(self, weight: Tensor) -> Tensor:
        """Return a tensor that lies like the plain weight with an output feature in each row, or the other way."""
        return by_rows(self._plain[0], weight)

    def restore(self) -> Linear:
        """Return the plain layer, its own parameters holding the merged values."""
        (plain,) = self._plain
        for name, value in self.plain_tensors().items():
            getattr(plain, name).data = value
        plain.train(self.training)
        return plain

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        for name, value in self.plain_tensors().items():
            destination[prefix + name] = value

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        plain, found = self.plain_tensors(), {}
        unexpected_keys += [key for key in state_dict if key.startswith(prefix) and key[len(prefix) :] not in plain]
        for name, own in plain.items():
            value = state_dict.get(prefix + name)
            if value is None:
                missing_keys.append(prefix + name)
            elif value.shape != own.shape:
                error_msgs.append(f"size mismatch for {prefix}{name}: {tuple(value.shape)}, not {tuple(own.shape)}.")
            else:
                found[name] = value
        if found:
            with torch.no_grad():
                self.adopt({**plain, **found})

    def extra_repr(self) -> str:
        """Return the sizes for `print(model)`."""
        return f"in_features={self.in_features}, out_features={self.out_features}, learners={self.learner_count}"


class SplitRows(_Split):
    """A Linear whose learners are output features.

    Args:
        linear: the plain layer; its parameters are emptied until `restore`.
        learners: indices of the output features that go on learning.
        input_order: the order in which the features arrive, if not the plain one, shape (in_features,).
        reorder: give the output in the plain order; else learners first, for a next layer that expects it so.
    """

    node_bias: Tensor
    input_order: Tensor | None
    input_inverse: Tensor | None

    def __init__(
        self, linear: Linear, learners: Sequence[int], *, input_order: Tensor | None = None, reorder: bool = False
    ) -> None:
        super().__init__(linear, learners, features(linear)[1])
        self.reorder = reorder
        self.register_buffer("input_order", input_order, persistent=False)
        self.register_buffer(
            "input_inverse", None if input_order is None else torch.argsort(input_order), persistent=False
        )
        weight = self._by_rows(linear.weight.detach())
        if input_order is not None:
            weight = weight.index_select(1, input_order)
        self.replacements = [self._take_over(weight.index_select(0, self.order))]
        if linear.bias is not None:
            self.register_buffer("node_bias", linear.bias.detach().index_select(0, self.order), persistent=False)
            self.bias = nn.Parameter(self.node_bias[: self.learner_count].clone())
            self.bias.requires_grad_(self.weight.requires_grad)
            self.replacements.append(Replacement(linear.bias, self.bias, tuple(linear.bias.shape), self._rows_of))
            _empty(linear.bias)
        else:
            self.register_buffer("node_bias", None, persistent=False)
            self.register_parameter("bias", None)

    def forward(self, input: Tensor) -> Tensor:
        """Return the plain layer's output for `input` (..., in_features), learners first unless `reorder`."""
        nodes = self._together()
        places = (self.order, self.inverse) if self.reorder else (None, None)
        kept = None
        if torch.is_grad_enabled() and self.weight.requires_grad:
            kept = keep_shared(input, self._storage, self._site, compute_dtype(input))
        output: Tensor = _rows(input, self.weight, self.bias, nodes, self._full_bias(), *places, kept)
        return output

    def _full_bias(self) -> Tensor | None:
        if self.bias is None:
            return None
        return torch.cat([self.bias.detach(), self.node_bias[self.learner_count :].to(self.bias)])

    def _rows_of(self, tensor: Tensor) -> Tensor:
        return tensor.index_select(0, self.order[: self.learner_count])

    def _learners_of(self, weight: Tensor) -> Tensor:
        rows = self._rows_of(self._by_rows(weight))
        return rows if self.input_order is None else rows.index_select(1, self.input_order)

    def plain_tensors(self) -> dict[str, Tensor]:
        """Return weight and bias in the plain order."""
        weight = self._together().detach().index_select(0, self.inverse)
        if self.input_inverse is not None:
            weight = weight.index_select(1, self.input_inverse)
        weight = self._by_rows(weight).contiguous()
        bias = self._full_bias()
        return {"weight": weight} if bias is None else {"weight": weight, "bias": bias.index_select(0, self.inverse)}

    def adopt(self, tensors: dict[str, Tensor]) -> None:
        """Take up a plain layer's weight and bias."""
        weight = self._by_rows(tensors["weight"].to(self.nodes))
        if self.input_order is not None:
            weight = weight.index_select(1, self.input_order)
        self._together().copy_(weight.index_select(0, self.order))
        if self.bias is not None:
            self.node_bias.copy_(tensors["bias"].index_select(0, self.order.to(tensors["bias"].device)))
            self.bias.data.copy_(self.node_bias[: self.learner_count])


class SplitColumns(_Split):
    """A Linear whose learners are input features; its bias trains whole.

    Args:
        linear: the plain layer; its weight is emptied until `restore`.
        learners: indices of the input features whose columns go on learning. The input must arrive learners first.
    """

    def __init__(self, linear: Linear, learners: Sequence[int]) -> None:
        super().__init__(linear, learners, features(linear)[0])
        self.replacements = [self._take_over(self._by_rows(linear.weight.detach()).t().index_select(0, self.order))]
        self.register_parameter("bias", linear.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Return the plain layer's output for `input` (..., in_features), learners first."""
        kept = self._keep(input) if torch.is_grad_enabled() and self.weight.requires_grad else None
        output: Tensor = _columns(input, self.weight, self._together(), kept)
        return output if self.bias is None else output + self.bias.to(output.dtype)

    @property
    def keeps_part_of_input(self) -> bool:
        """Whether the learners' share of the input is so small that it is kept apart."""
        return 2 * self.learner_count <= self.in_features

    def _keep(self, input: Tensor) -> Kept:
        dtype = compute_dtype(input)
        whole = offered(input, self._storage, dtype)
        if whole is not None:
            return whole
        # A copy, not a view: the view would keep the frozen nodes' share of the input alive as well.
        return keep(input[..., : self.learner_count].to(dtype).contiguous(), self._storage, self._site)

    def _learners_of(self, weight: Tensor) -> Tensor:
        return self._by_rows(weight).t().index_select(0, self.order[: self.learner_count])

    def plain_tensors(self) -> dict[str, Tensor]:
        """Return weight and bias in the plain order."""
        weight = self._by_rows(self._together().detach().index_select(0, self.inverse).t()).contiguous()
        return {"weight": weight} if self.bias is None else {"weight": weight, "bias": self.bias.detach().clone()}

    def adopt(self, tensors: dict[str, Tensor]) -> None:
        """Take up a plain layer's weight and bias."""
        self._together().copy_(self._by_rows(tensors["weight"].to(self.nodes)).t().index_select(0, self.order))
        if self.bias is not None:
            self.bias.data.copy_(tensors["bias"])


def _empty(parameter: nn.Parameter) -> None:
    parameter.grad = None
    parameter.data = parameter.data.new_empty(0)


def _matrix(tensor: Tensor) -> Tensor:
    """Return (..., features) as (tokens, features); a single vector is one token."""
    return tensor.flatten(0, -2) if tensor.dim() > 1 else tensor.unsqueeze(0)


class _RowsFunction(torch.autograd.Function):
    """y = x W^T + b with gradients for x and for the first rows of W and b."""

    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        nodes: Tensor,
        node_bias: Tensor | None,
        order: Tensor | None,
        inverse: Tensor | None,
        kept: Kept | None,
    ) -> Tensor:
        ctx.learners, ctx.dtypes = weight.shape[0], (input.dtype, weight.dtype)
        dtype = compute_dtype(input)
        with without_autocast(input):
            output = F.linear(input.to(dtype), nodes.to(dtype), None if node_bias is None else node_bias.to(dtype))
        ctx.restore = None if kept is None else kept.restore
        ctx.save_for_backward(nodes, inverse, *(() if kept is None else kept.tensors))
        # index_copy: on CPU four times as fast as index_select along the last dimension, and ten as its backward.
        return output if order is None else torch.empty_like(output).index_copy_(-1, order, output)

    @staticmethod
    @first_order
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        nodes, inverse, *code = ctx.saved_tensors
        if inverse is not None:
            grad = torch.empty_like(grad).index_copy_(-1, inverse, grad)
        grad_input = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_input = (grad @ nodes.to(grad.dtype)).to(ctx.dtypes[0])
        learners = _matrix(grad)[:, : ctx.learners]
        if ctx.needs_input_grad[1]:
            grad_weight = (learners.t() @ _matrix(ctx.restore(code))).to(ctx.dtypes[1])
        if ctx.needs_input_grad[2]:
            grad_bias = learners.sum(0).to(ctx.dtypes[1])
        return grad_input, grad_weight, grad_bias, None, None, None, None, None


class _ColumnsFunction(torch.autograd.Function):
    """y = x N, N with a node in each row, with gradients for x and for the first rows of N."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, nodes: Tensor, kept: Kept | None) -> Tensor:
        ctx.learners, ctx.dtypes = weight.shape[0], (input.dtype, weight.dtype)
        dtype = compute_dtype(input)
        with without_autocast(input):
            output = input.to(dtype) @ nodes.to(dtype)
        ctx.restore = None if kept is None else kept.restore
        ctx.save_for_backward(nodes, *(() if kept is None else kept.tensors))
        return output

    @staticmethod
    @first_order
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        nodes, *code = ctx.saved_tensors
        grad_input = grad_weight = None
        if ctx.needs_input_grad[0]:
            grad_input = (grad @ nodes.t().to(grad.dtype)).to(ctx.dtypes[0])
        if ctx.needs_input_grad[1]:
            input = _matrix(ctx.restore(code))[:, : ctx.learners]
            grad_weight = (input.t() @ _matrix(grad)).to(ctx.dtypes[1])
        return grad_input, grad_weight, None, None


_rows: Any = _RowsFunction.apply
_columns: Any = _ColumnsFunction.apply
