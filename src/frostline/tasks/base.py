"""What a task is: data in, tensors through a head, scores out. One file a task; nobody else knows them by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from frostline.errors import ConfigError, DataError
from frostline.heads import CLASSIFICATION
from frostline.tasks.kinds import Kind, kind_of

if TYPE_CHECKING:
    import datasets
    from numpy.typing import NDArray

    from frostline.config import TrainConfig
    from frostline.models import Loaded

COLUMNS = ("text", "text_pair", "image", "label", "delimiter")
IGNORE_INDEX = -100
"""The label of a token that no loss and no score reads, as in transformers."""
_OWN_KEYS = ("image_size", "augmentation", "stride", "null_threshold")
Scores = dict[str, float]
Inputs = dict[str, Any]
"""Keyword arguments of a forward pass."""
Scorer = Callable[["NDArray[Any]", Any], Scores]
"""From a model's outputs and the labels of the same rows to scores, the metric that decides first."""


@dataclass(frozen=True)
class TaskData:
    """Training and validation rows, before a model has seen them."""

    train: datasets.Dataset
    """What a row holds is the task's affair; `label`, where there is one, is an index into `label_names` or a score."""
    validation: datasets.Dataset
    """Same columns."""
    label_names: tuple[str, ...]
    """The classes; none where labels are scores."""
    metric: str
    """The task's own metric, a name in `metrics.METRICS`."""
    name: str
    sha256: str
    """Of the bytes of the files read, training before validation; of the rows where there are no files."""

    @property
    def kind(self) -> Kind:
        """Classification or regression."""
        return kind_of(self.label_names)


@dataclass(frozen=True)
class Origin:
    """Where a run's rows come from: whether validation rows are its own, and the SHA-256 as in `TaskData`."""

    own_validation: bool
    sha256: str


@dataclass(frozen=True)
class Encoded:
    """Rows as a Trainer takes them."""

    train: Any
    """Sized and indexed; a row is a dictionary of a forward pass's arguments, labels included."""
    validation: Any
    collate: Callable[[list[Inputs]], Any]
    """From rows to a batch of tensors."""
    lengths: Sequence[int] | None
    """Of the training rows, where rows differ in it."""
    notes: tuple[str, ...] = ()
    """What the user should know of what became of his rows, a line each."""
    reduce: Callable[[Any, Any], Any] | None = None
    """From the logits and labels of a batch of the evaluation to what is kept of them; all of the logits if None."""
    outputs: Callable[[Any], NDArray[Any]] | None = None
    """From all that an evaluation kept to what the scorer wants of each validation row, against whose `label` it is
    scored; None where that is what was kept already, and the labels are the batches'."""
    begin_epoch: Callable[[int], None] | None = None
    """To be called with its number when an epoch begins, also one within which a run resumes."""

    def longest(self, count: int) -> Any:
        """Return the batch of the `count` longest training rows."""
        order: Sequence[int] = range(len(self.train))
        if self.lengths is not None:
            lengths = self.lengths
            order = sorted(order, key=lambda row: -lengths[row])
        return self.collate([self.train[row] for row in order[:count]])


class Task(ABC):
    """A task; it holds nothing, all it needs is handed to it."""

    head: ClassVar[str] = CLASSIFICATION
    """What its models answer, one of `frostline.heads.HEADS`."""
    pipeline: ClassVar[str]
    """What transformers' `pipeline` calls it."""
    reads: ClassVar[str]
    """What it reads, in the plural."""
    columns: ClassVar[tuple[str, ...]]
    """Keys that name its columns or say how they are separated: of `TrainConfig`, flags of `eval` and `predict`."""
    keys: ClassVar[tuple[str, ...]] = ()
    """Keys of `TrainConfig` that not every task has, and this one does."""

    def labels(self, rows: datasets.Dataset) -> Any:
        """Return what the outputs of rows are scored against, one of each; None if they have no labels."""
        return rows["label"] if "label" in rows.column_names else None

    def settled(self, label_names: tuple[str, ...]) -> str:
        """Return the value of `TrainConfig.task` that says the same whatever the data look like."""
        return self.head

    def classes(self, loaded: Loaded) -> tuple[str, ...]:
        """Return the classes of a trained model."""
        return ()

    def refuse_keys(self, config: TrainConfig) -> None:
        """Raise ConfigError where a key is given that only other tasks have, DataError where it names a column."""
        for key in _OWN_KEYS:
            if key not in self.keys and getattr(config, key) is not None:
                raise ConfigError(f"{key}={getattr(config, key)!r} is nothing for {self.reads}; leave it out.")
        self.refuse_columns({key: getattr(config, key) for key in COLUMNS})

    @abstractmethod
    def read(self, config: TrainConfig) -> TaskData:
        """Return the data of a run; DataError if they cannot be learnt from."""

    @abstractmethod
    def origin(self, config: TrainConfig) -> Origin:
        """Return where the rows of `read` come from; DataError if they cannot be read."""

    @abstractmethod
    def read_examples(
        self, source: str, label_names: tuple[str, ...] | None, columns: Mapping[str, str]
    ) -> datasets.Dataset:
        """Return rows to evaluate or predict on, `label` only where they have labels and `label_names` is not None.

        Args:
            source: a file, or the evaluation split of anything that `read` takes.
            label_names: the model's classes, none of them for one that gives scores; None leaves labels out.
            columns: values of `self.columns`.

        Raises:
            DataError: the source cannot be read, or a label is none of the model's.
        """

    @abstractmethod
    def examples(self, words: Sequence[str]) -> datasets.Dataset:
        """Return the rows that words of the command line stand for."""

    @abstractmethod
    def load(self, name: str, label_names: Sequence[str] | None = None, config: TrainConfig | None = None) -> Loaded:
        """Load a model with a head for the task, and what makes its inputs.

        Args:
            name: `minilm`, a folder, or a Hub name.
            label_names: classes, in order; none of them for scores; None keeps the head the model comes with.
            config: of the run that it is to be trained in; None for a model that has been.

        Raises:
            ConfigError: there is no such model, or it cannot be loaded for the task.
        """

    @abstractmethod
    def encode(self, data: TaskData, loaded: Loaded, config: TrainConfig) -> Encoded:
        """Return the rows as the model takes them; ConfigError if it cannot take what is asked for."""

    @abstractmethod
    def scorer(self, metric: str | None, label_names: tuple[str, ...]) -> Scorer:
        """Return what scores outputs; ConfigError if the metric, the task's own if None, cannot score such labels."""

    @abstractmethod
    def outputs(self, loaded: Loaded, rows: datasets.Dataset, batch_size: int, max_length: int | None) -> NDArray[Any]:
        """Return what the model says of rows, as `scorer` and `predictions` want it.

        Args:
            loaded: the model; it is moved to the GPU if there is one.
            rows: as `read_examples` gives them.
            batch_size: rows in a forward pass.
            max_length: tokens of a text; as many as the model has positions for if None.
        """

    def warnings(self, loaded: Loaded, rows: datasets.Dataset, max_length: int | None) -> tuple[str, ...]:
        """Return what the user should know of what becomes of these rows, a line each; arguments as for `outputs`."""
        return ()

    @abstractmethod
    def predictions(self, loaded: Loaded, rows: datasets.Dataset, outputs: NDArray[Any]) -> list[dict[str, Any]]:
        """Return for each row what was read and what the model says, as JSON values."""

    @abstractmethod
    def step_sizes(self, config: TrainConfig) -> dict[str, int | None]:
        """Return the sizes of a planned step, `sequence_length` or `image_size`, as for `frostline.meter.Steps`."""

    @abstractmethod
    def tokens(self, inputs: Inputs, model: Any) -> int:
        """Return how many tokens a batch holds, padding not counted."""

    def refuse_columns(self, columns: Mapping[str, str | None]) -> None:
        """Raise DataError where a column is named that only other tasks have."""
        for key, value in columns.items():
            if value is not None and key not in self.columns:
                raise DataError(f"{key}={value!r} names no column of {self.reads}; leave {key} out.")
