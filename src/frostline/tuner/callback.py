"""Drives a tuner from a stock transformers.Trainer, at its own extension point."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from frostline.errors import CheckpointError, ConfigError
from frostline.tuner.processes import require_alone

if TYPE_CHECKING:
    from frostline.tuner.tuner import Tuner


class TunerCallback(TrainerCallback, ExportableState):
    """Calls the tuner around every optimizer step; its state travels in the checkpoint's trainer_state.json.

    Raises (from the Trainer's constructor):
        ConfigError: the arguments ask for something that is not supported together with changing units: FSDP,
            DeepSpeed, torch.compile, restoring callbacks by class; or for several processes where they cannot train
            together (`Tuner.needs_one_process`).
    """

    def __init__(self, tuner: Tuner) -> None:
        self._tuner = tuner

    def state(self) -> dict[str, Any]:
        """Return the tuner's state in the form that a Trainer saves."""
        return {"args": {}, "attributes": {"tuner_state": self._tuner.state_dict()}}

    def on_init_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Refuse what is not supported together."""
        if self._tuner.needs_one_process:
            require_alone(self._tuner.needs_one_process, args.world_size)
        for asked, what, way_out in (
            (args.n_gpu > 1, f"DataParallel on {args.n_gpu} GPUs", "set CUDA_VISIBLE_DEVICES to one of them"),
            (bool(args.fsdp), "FSDP, whose shards are made for weights that all train or none", "leave `fsdp` out"),
            (bool(args.deepspeed), "DeepSpeed", "leave `deepspeed` out"),
            (args.torch_compile, "torch.compile, which would recompile at every change", "set torch_compile=False"),
            (
                args.gradient_checkpointing and self._tuner.recomputes,
                "gradient checkpointing of transformers beside storage that runs blocks again in backward",
                "set gradient_checkpointing=False: storage does it",
            ),
            (
                args.restore_callback_states_from_checkpoint,
                "restore_callback_states_from_checkpoint, which makes callbacks anew by class",
                "leave it out: the tuner restores its own state",
            ),
        ):
            if asked:
                raise ConfigError(f"Frostline does not support {what}; {way_out}.")
        if args.world_size > 1 and not self._tuner.constant:
            self._require_unused(args, kwargs.get("model"))

    def _require_unused(self, args: TrainingArguments, model: Any) -> None:
        """Refuse processes that would wait for the gradients of weights that do not train at a step."""
        checkpointing = args.gradient_checkpointing or getattr(model, "is_gradient_checkpointing", False)
        asked = args.ddp_find_unused_parameters
        if asked or (asked is None and not checkpointing):  # what a Trainer does by itself
            return
        why = (
            f"ddp_find_unused_parameters={asked}" if asked is not None else "gradient checkpointing, which turns it off"
        )
        raise ConfigError(
            f"several processes train other weights at every step under method {self._tuner.plan.method!r}, and would "
            f"wait for the gradients of those that do not ({why}); set ddp_find_unused_parameters=True."
        )

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Attach the optimizer; when the Trainer resumes, take up the state that its checkpoint holds."""
        tuner = self._tuner
        if tuner.updates_in_backward:
            self._require_no_gradients(args)
        tuner.set_total_steps(state.max_steps)
        if state.global_step > 0 and tuner.step != state.global_step:
            callbacks: Any = state.stateful_callbacks  # a list when made, a dict by class name ever after
            saved = callbacks.get(type(self).__name__)
            if not saved:
                raise CheckpointError(
                    f"the checkpoint at step {state.global_step} was made without Frostline's callback; start anew."
                )
            attributes = (saved[0] if isinstance(saved, list) else saved)["attributes"]
            tuner.attach(kwargs["optimizer"])
            tuner.load_state_dict(attributes["tuner_state"])
        else:
            tuner.attach(kwargs["optimizer"])
        if tuner.step != state.global_step:
            raise CheckpointError(f"the schedule is at step {tuner.step}, the Trainer at step {state.global_step}.")

    def _require_no_gradients(self, args: TrainingArguments) -> None:
        """Refuse what needs the gradients after backward, where they are used up by then."""
        plan = self._tuner.plan
        why = "fused_backward=True" if plan.fused_backward else f"method {plan.method!r}"
        for key, needed in (("max_grad_norm", 0), ("gradient_accumulation_steps", 1), ("fp16", False)):
            value = getattr(args, key)
            if value not in (needed, None):
                raise ConfigError(
                    f"{key}={value!r} is refused: {why} moves the weights during backward and keeps no gradients; set "
                    f"{key}={needed}."
                )

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Freeze and thaw for the step."""
        self._tuner.before_step()

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Stop before activations that were not finite move a weight."""
        self._tuner.before_optimizer_step()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Let the method see the new weights."""
        self._tuner.after_step()
