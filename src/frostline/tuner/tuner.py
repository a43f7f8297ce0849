"""A method on a live model: freezes and thaws before each step, looks on after it, and gives the plain model back."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.optim import Optimizer

from frostline.anatomy import Anatomy, Unit
from frostline.errors import FrostlineError, PlanError
from frostline.methods.base import ConstantMethod, Method, Replacement
from frostline.plan import Plan
from frostline.storage import Attached, Choice, Storage
from frostline.storage.finite import require_finite
from frostline.tuner.fused_backward import FusedBackward
from frostline.tuner.optimizer_state import OptimizerState
from frostline.tuner.processes import require_alone
from frostline.tuner.wrapping import refuse_compilation, require_plain

if TYPE_CHECKING:
    from frostline.tuner.callback import TunerCallback


_prepared: weakref.WeakSet[nn.Module] = weakref.WeakSet()


def is_prepared(model: nn.Module) -> bool:
    """Tell whether a tuner is on this model."""
    return model in _prepared


class Tuner:
    """A method on a live model. Made by `prepare`.

    Attributes:
        anatomy: the model as it was found.
        plan: what was decided, as a value.
        step: optimizer steps done.
        finished: whether `finish` has given the plain model back.
        planned: what the planner found, where there is a budget.
    """

    def __init__(
        self,
        model: nn.Module,
        method: Method,
        anatomy: Anatomy,
        *,
        optimizer_state: str,
        storage: Choice = "exact",
        fused_backward: bool = False,
    ) -> None:
        self.anatomy = anatomy
        self.step = 0
        self.finished = False
        self.planned: dict[str, Any] | None = None
        self._watches: list[tuple[Callable[[], None], Callable[[], None]]] = []
        self._model = model
        self._method = method
        self._policy = optimizer_state
        self._state: OptimizerState | None = None
        self._fused: FusedBackward | None = None
        self._storage: Attached | None = None
        self._in_step = False
        self._requires_grad = {p: p.requires_grad for p in model.parameters()}
        chosen_storage = Storage.of(storage)
        method.prepare(model, anatomy)
        candidates = method.candidates()
        if not candidates:
            self._abandon()
            raise PlanError(f"method {method.name!r} with these settings would train nothing in this model.")
        self._index()
        trainable = set(self.parameters_of(candidates))
        for parameter in model.parameters():
            parameter.requires_grad_(parameter in trainable)
            if parameter not in trainable:
                parameter.grad = None  # one from before would let an optimizer that holds it move the weight
        by_name = {unit.name: unit for unit in (*method.units(), *method.always())}
        self.plan = Plan(
            method=method.name,
            settings=method.settings.model_dump(mode="json"),
            seed=method.seed,
            optimizer_state=optimizer_state,
            storage=storage if isinstance(storage, str) else dict(storage),
            model=type(model).__name__,
            blocks=len(anatomy.blocks),
            total_parameters=anatomy.parameter_count,
            candidate_parameters=sum(by_name[name].parameter_count for name in candidates),
            trainable_parameters=method.planned_parameters(),
            fused_backward=fused_backward,
        )
        if not chosen_storage.is_exact:
            try:
                self._storage = Attached(model, anatomy, chosen_storage)
            except FrostlineError:
                self._abandon()
                raise
        self._watches.append((model.register_forward_pre_hook(refuse_compilation).remove, lambda: None))
        self._active: frozenset[str] | None = None  # none applied yet: the optimizer is still to be made
        _prepared.add(model)

    @property
    def units(self) -> tuple[Unit, ...]:
        """The units that the method's schedule decides over, in forward order."""
        return self._method.units()

    @property
    def always(self) -> tuple[Unit, ...]:
        """The units outside the schedule that train at every step (SlimFit's biases, LISA's embeddings and head)."""
        return self._method.always()

    @property
    def active(self) -> frozenset[str]:
        """The names of the scheduled units that train at this step; between two steps, at the next one."""
        return self._method.active(self.step) if self._active is None or not self._in_step else self._active

    @property
    def trainable_parameters(self) -> int:
        """How many scalars train at this step, `always` included."""
        active = self.active
        scheduled = sum(unit.parameter_count for unit in self.units if unit.name in active)
        return scheduled + sum(unit.parameter_count for unit in self.always)

    @property
    def active_share(self) -> float:
        """`trainable_parameters` over all of the model's scalars."""
        return self.trainable_parameters / self.anatomy.parameter_count

    def candidate_parameters(self) -> list[nn.Parameter]:
        """Return every parameter that may ever train, for an optimizer."""
        return self.parameters_of(self._method.candidates())

    def parameters_of(self, names: frozenset[str]) -> list[nn.Parameter]:
        """Return the parameters of the units of these names, in the order of the units."""
        order = [p for unit in self._of_unit if unit in names for p in self._of_unit[unit]]
        return [self._parameters[name] for name in order]

    def own_optimizer(self, groups: list[dict[str, Any]], learning_rate: float) -> Optimizer | None:
        """Return the optimizer that the method brings, over these parameter groups; None if any optimizer does."""
        return self._method.optimizer(groups, learning_rate)

    @property
    def updates_in_backward(self) -> bool:
        """Whether each weight moves as soon as its gradient is there: fused backward, or the method's own (LOMO)."""
        return self.plan.fused_backward or self._method.updates_in_backward

    @property
    def recomputes(self) -> bool:
        """Whether storage runs blocks again in backward."""
        return self._storage is not None and self._storage.recomputes

    def before_optimizer_step(self) -> None:
        """Raise StorageError if an activation on a GPU was not finite; called before the weights move."""
        require_finite()

    def set_total_steps(self, total_steps: int) -> None:
        """Say how many optimizer steps the run has; methods that prime need it."""
        self._method.set_total_steps(total_steps)

    def attach(self, optimizer: Optimizer) -> None:
        """Follow this optimizer: check that it holds every candidate, and care for its state of frozen units.

        Raises:
            PlanError: it lacks a candidate.
            ConfigError: several processes train together, and this way to train cannot (`needs_one_process`); or the
                optimizer would make weights in float16 NaN.
            UnsupportedModel: the model was compiled since, or its weights have become shards.
        """
        self._open()
        if self.needs_one_process:
            require_alone(self.needs_one_process)
        require_plain(self._model)
        state = OptimizerState(optimizer, self._policy)
        names = {id(p): name for name, p in self._model.named_parameters()}
        state.require((names[id(p)], p) for p in self.candidate_parameters())
        state.require_precision()
        if self._fused is not None:
            self._fused.close()
        self._fused = FusedBackward(self._model, optimizer) if self.plan.fused_backward else None
        self._state = state
        if self._active is not None:
            state.freeze(p for p in self.candidate_parameters() if not p.requires_grad)

    @property
    def needs_one_process(self) -> str | None:
        """Why processes that add up their gradients (DistributedDataParallel) cannot train it together, or None."""
        if self.updates_in_backward:
            why = "fused_backward=True" if self.plan.fused_backward else f"method {self.plan.method!r}"
            return f"{why} moves weights before the processes have added up their gradients"
        if self._method.reconfigures:
            return f"method {self.plan.method!r} puts other weights in the place of those that the processes share"
        return None

    @property
    def constant(self) -> bool:
        """Whether the same units train at every step."""
        return isinstance(self._method, ConstantMethod)

    def heaviest(self) -> frozenset[str] | None:
        """Return, of the sets that the schedule may come to, the one with most to hold; None if the first has it."""
        return self._method.heaviest()

    def held(self) -> tuple[Tensor, ...]:
        """Return tensors of the method's own that wait between two steps: they count in a peak."""
        return self._method.held()

    def force(self, active: frozenset[str] | None) -> None:
        """Let these scheduled units train from the next step on, whatever the schedule says; None: the schedule again.

        For measurements and rehearsals: the schedule goes on as if they were its own choice.
        """
        vars(self._method).pop("active", None)
        if active is not None:
            vars(self._method)["active"] = lambda step: active

    def watch(self, close: Callable[[], None], after: Callable[[], None]) -> None:
        """Call `after` at the end of every step, and `close` when the tuner finishes."""
        self._watches.append((close, after))

    def before_step(self) -> None:
        """Freeze and thaw what the schedule says for this step; call it before the forward pass."""
        self._open()
        if self._state is None:
            raise PlanError("no optimizer is attached; call tuner.attach(optimizer) before the first step.")
        if self._in_step:
            raise PlanError("before_step() was called twice without after_step() between.")
        if self._active is None:  # the first step, or the first after a change
            require_plain(self._model)
        self._follow(self._method.reconfigure(self._model, self.step))
        self._apply(self._method.active(self.step))
        if self._fused is not None:
            self._fused.begin()
        self._in_step = True
        self._method.before(self.step, self._parameters)

    def after_step(self) -> None:
        """Let the method see the new weights; call it after the optimizer's step."""
        self._open()
        if not self._in_step:
            raise PlanError("after_step() was called without before_step().")
        require_finite()
        if self._fused is not None:
            self._fused.end()
        self._method.observe(self.step, self._parameters)
        self._in_step = False
        self.step += 1
        for _, after in self._watches:
            after()

    def finish(self) -> nn.Module:
        """Give the plain model back, in place, and return it; a second call does nothing."""
        if not self.finished:
            if self._state is not None:
                self._state.close()
            if self._fused is not None:
                self._fused.close()
            self._abandon()
            self.finished = True
        return self._model

    def callback(self) -> TunerCallback:
        """Return a callback that drives this tuner from a stock transformers.Trainer."""
        from frostline.tuner.callback import TunerCallback

        return TunerCallback(self)

    def state_dict(self) -> dict[str, Any]:
        """Return the schedule's state as JSON values; the weights are the model's and the moments the optimizer's."""
        return {"plan": self.plan.to_json(), "step": self.step, "method": self._method.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict()` was taken, the model's structure included.

        Load the model's and the optimizer's own state before or after, as you like.

        Raises:
            PlanError: the state belongs to another method, other settings or another model.
        """
        self._open()
        other = Plan.from_json(dict(state["plan"]))
        if not self.plan.same_schedule(other):
            raise PlanError(
                f"this state is of method {other.method!r} with {other.settings} on {other.model} (seed {other.seed}); "
                f"the tuner has {self.plan.method!r} with {self.plan.settings} on {self.plan.model} "
                f"(seed {self.plan.seed})."
            )
        self._follow(self._method.load_state_dict(state["method"], self._model), resumed=True)
        self.step = int(state["step"])
        self._active = None

    def _open(self) -> None:
        if self.finished:
            raise PlanError("this tuner is finished; prepare() the model again to go on.")

    def _abandon(self) -> None:
        for close, _ in self._watches:
            close()
        if self._storage is not None:
            self._storage.detach()
        self._method.restore(self._model)
        for parameter in self._model.parameters():
            parameter.requires_grad_(self._requires_grad.get(parameter, True))
        _prepared.discard(self._model)

    def _index(self) -> None:
        self._parameters = dict(self._model.named_parameters())
        self._of_unit = {u.name: u.parameters for u in (*self._method.units(), *self._method.always())}
        self._always = frozenset(u.name for u in self._method.always())

    def _follow(self, replacements: tuple[Replacement, ...], *, resumed: bool = False) -> None:
        if not replacements:
            return
        self._index()
        self._active = None
        if self._storage is not None:
            self._storage.refresh()
        if self._state is not None:
            self._state.replace(replacements, resumed=resumed)

    def _apply(self, active: frozenset[str]) -> None:
        if active == self._active:
            return
        if self._active is None:
            thaw, freeze = active, self._method.candidates() - self._always - active
        else:
            thaw, freeze = active - self._active, self._active - active
        frozen = self.parameters_of(freeze)
        for parameter in frozen:
            parameter.requires_grad_(False)
            parameter.grad = None  # a zero gradient would still let momentum and weight decay move the weight
        thawed = self.parameters_of(thaw)
        for parameter in thawed:
            parameter.requires_grad_(True)
        if self._state is not None:
            self._state.freeze(frozen)
            self._state.thaw(thawed)
        self._active = active
