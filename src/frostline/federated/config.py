"""Every key of `frostline federate`, its default and meaning. No key without a reader; unknown keys are refused."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from frostline.config import Keys, checked
from frostline.errors import ConfigError
from frostline.federated.fleet import Fleet, make_fleet
from frostline.federated.privacy import LocalDp
from frostline.federated.uploads import Upload

_REFUSED = frozenset({"secure_aggregation", "secagg", "secaggplus"})


class FederateConfig(Keys):
    """One federation."""

    model: str = Field(
        "minilm", description="`minilm` (embedded), a Hugging Face folder, or a Hub name; {depth} in it is the depth's"
    )
    depths: tuple[int, ...] = Field(min_length=1, description="blocks of the networks to choose from: [2, 4, 6]")
    data: str = Field("acceptability", description="as for `frostline train`: a folder, a file, a name")
    task: Literal["auto", "classification", "language-modeling"] = Field(
        "auto", description="what the model is to answer: classes, or the next token"
    )
    validation: str | None = Field(None, description="what the server scores on; as for `frostline train`")
    output: Path = Field(description="the run folder, to be made")
    fleet: dict[str, Any] = Field(description="groups: [...], or preset: and count:")

    rule: Literal[
        "caff",
        "deepest",
        "fedavg",
        "weakest",
        "strongest",
        "head",
        "cocofl",
        "rotating",
        "auto",
        "lora",
        "hetlora",
        "flexlora",
    ] = Field("caff", description="who trains what")
    lora_ranks: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (1, 2, 4, 8, 16), min_length=1, description="of adapters, to choose from: rules lora, hetlora and flexlora"
    )
    partition: Literal["iid", "dirichlet", "natural", "own"] = Field(
        "dirichlet",
        description="how the data are divided; natural: a document a device; own: each device has data of its own",
    )
    own_data: str | None = Field(
        None, description="of partition own: where a device's are, {device} its number; a node's data= goes before it"
    )
    alpha: float = Field(0.1, gt=0, le=1e6, description="of dirichlet: smaller is more different")
    max_train: int | None = Field(None, ge=1, description="of all devices together, train on this many examples only")
    max_length: int = Field(128, ge=1, description="tokens; longer texts are cut; the length of a language's blocks")
    image_size: int | None = Field(None, ge=1, description="pixels in height and width; the model's own if left out")
    augmentation: Literal["none", "flip", "crop", "resized_crop"] | None = Field(
        None, description="of images, as for `frostline train`"
    )

    personal: int | None = Field(
        None, ge=0, description="the head and so many of the last blocks stay with each device; none if left out"
    )
    evaluate_every: int | None = Field(
        None, ge=1, description="rounds after which every device is scored on examples of its own that it held out"
    )
    held_out: float = Field(0.2, gt=0, lt=1, description="share of a device's examples that it is scored on")

    rounds: int = Field(10, ge=1, description="rounds")
    devices_per_round: int = Field(10, ge=1, description="devices that are asked in a round")
    quorum: float = Field(0.5, gt=0, le=1, description="share of those asked whose valid reply a round needs")
    wave: int = Field(8, ge=1, description="devices that are asked at once; bounds the server's memory")
    timeout: float = Field(3600.0, gt=0, description="seconds that a wave may take; later replies do not count")
    norm_bound: float = Field(2.0, gt=0, description="the most that a reply may move its weights, to their own norm")
    pace_bound: float = Field(
        20.0, gt=1, description="the most that a reply may move its weights in a step, to the median of others"
    )
    upload: Upload = Field("exact", description="how weights travel: as they are, or their way in int8 or int4")
    local_dp: LocalDp | None = Field(
        None, description="clip and blur what devices send: {clipping_norm: 1, sensitivity: 1, epsilon: 1, delta: 1e-5}"
    )
    damped: bool = Field(False, description="move a tensor only by the share of the replies that trained it")
    server_optimizer: Literal["fedavg", "fedavgm", "fedadam"] = Field("fedavg", description="of the server")
    server_learning_rate: float | None = Field(None, gt=0, description="of fedavgm (1) and fedadam (0.1)")

    enforce: bool = Field(
        False, description="let the system hold a device's process to the memory that the fleet gives it (Linux)"
    )

    batch_size: int = Field(32, ge=1, description="examples in a step of a device")
    local_epochs: int = Field(1, ge=1, description="passes of a device over its data in a round")
    optimizer: Literal["adamw", "sgd"] = Field("adamw", description="of the devices, without a memory between rounds")
    learning_rate: float = Field(5e-4, gt=0, description="of the devices in the first round; 0.1 left out with sgd")
    final_learning_rate: float | None = Field(
        None, ge=0, description="in the last round, a cosine between; a tenth of the first left out"
    )
    storage: str | dict[str, str] = Field(
        "exact",
        description="of the devices' saved activations, as for `frostline train`: exact, compact, smallest, ...",
    )
    proximal: float = Field(
        0.0, ge=0, description="pull of the devices' weights to where the round began (FedProx's mu)"
    )
    momentum: float | None = Field(None, ge=0, lt=1, description="of sgd; 0.9 left out")
    seed: int = Field(0, ge=0, lt=2**32, description="of everything random")

    @field_validator("depths")
    @classmethod
    def _ascending(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) < len(value) or min(value) < 1:
            raise ValueError("give different depths of 1 or more")
        return tuple(sorted(value))

    @model_validator(mode="before")
    @classmethod
    def _rates(cls, values: Any) -> Any:
        """Fill in the rates and the momentum that are left out."""
        found = dict(values)
        if found.get("optimizer") == "sgd":
            found.setdefault("learning_rate", 0.1)
            found.setdefault("momentum", 0.9)
        return found

    @model_validator(mode="after")
    def _together(self) -> FederateConfig:
        if self.server_learning_rate is not None and self.server_optimizer == "fedavg":
            raise ValueError("server_learning_rate is for fedavgm and fedadam; fedavg takes the average itself")
        if self.momentum is not None and self.optimizer != "sgd":
            raise ValueError(f"momentum is of optimizer sgd; {self.optimizer} has its own")
        if self.server_optimizer != "fedavg" and self.rule == "flexlora":
            raise ValueError(
                f"server_optimizer {self.server_optimizer} moves factors, and rule flexlora makes these anew in each "
                "round; use fedavg"
            )
        if self.personal is not None and self.rule in ("lora", "hetlora", "flexlora"):
            raise ValueError(f"personal is for rules that train layers; under {self.rule} adapters train")
        if self.personal is not None and self.personal >= min(self.depths):
            raise ValueError(f"personal must leave a block of the smallest depth, {min(self.depths)}, to share")
        if self.personal and self.rule == "auto":
            raise ValueError(
                f"personal={self.personal} with rule auto, which goes by how far blocks moved on the server: it never "
                "sees those that stay with devices. Take rule rotating or cocofl, or personal: 0"
            )
        if self.personal is not None and self.rule == "head":
            raise ValueError("personal keeps the head with each device, and under rule head nothing else trains")
        if self.own_data is not None and self.partition != "own":
            raise ValueError("own_data is where devices with data of their own have them; say partition: own")
        if self.partition == "natural" and self.task != "language-modeling":
            raise ValueError("partition natural gives each device a document; it is for task language-modeling")
        if self.partition == "own" and self.max_train is not None:
            raise ValueError("max_train is of data that are divided; with partition own a device trains on all it has")
        return self

    @property
    def keeps_start(self) -> bool:
        """Whether a device needs what it trains also as it was when the round began."""
        return self.upload != "exact" or self.proximal > 0 or self.local_dp is not None

    @property
    def devices(self) -> Fleet:
        """The fleet; ConfigError if it is refused."""
        return make_fleet(self.fleet)

    def rate(self, number: int) -> float:
        """Return the learning rate of a round, counted from 1: a cosine over all rounds."""
        done = (number - 1) / max(1, self.rounds - 1)
        last = self.learning_rate / 10 if self.final_learning_rate is None else self.final_learning_rate
        return last + (self.learning_rate - last) * (1 + math.cos(math.pi * done)) / 2


def make_federate_config(values: Mapping[str, Any]) -> FederateConfig:
    """Return the config of plain values; ConfigError names the key, the value, and the nearest valid key."""
    for key in _REFUSED & values.keys():
        raise ConfigError(
            f"{key} is refused: Flower's protocol adds up the same tensors of all devices under masks that cancel, and "
            "here each device sends its own. local_dp blurs what a device sends before it leaves it."
        )
    config = checked(FederateConfig, values)
    for group in config.devices.groups:  # a fleet that is refused is refused now
        if config.enforce and (group.memory is None or group.memory.amount is None):
            raise ConfigError(f"enforce=true needs the memory of group {group.name!r} in bytes, for instance 2GiB.")
    return config
