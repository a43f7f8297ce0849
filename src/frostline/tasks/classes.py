"""What tasks whose answer is a class or a score have in common: the forward passes, the scores, the predictions."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from frostline.tasks.base import Inputs, Scorer, Scores, Task
from frostline.tasks.kinds import kind_of
from frostline.tasks.metrics import DEFAULT, decisions, get_metric

if TYPE_CHECKING:
    import datasets
    from numpy.typing import NDArray

    from frostline.models import Loaded


class ClassTask(Task):
    """A task that asks for a class or a score of each row."""

    def settled(self, label_names: tuple[str, ...]) -> str:
        """Return whether it is classification or regression."""
        return kind_of(label_names)

    def classes(self, loaded: Loaded) -> tuple[str, ...]:
        """Return the classes, none of a model that gives a score."""
        return loaded.label_names

    @abstractmethod
    def inputs(self, loaded: Loaded, rows: dict[str, list[Any]], max_length: int | None) -> Inputs:
        """Return the tensors of a batch of rows, without labels; `max_length` as for `outputs`."""

    @abstractmethod
    def shown(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return what a prediction repeats of its row."""

    def scorer(self, metric: str | None, label_names: tuple[str, ...]) -> Scorer:
        """Return what scores outputs, shape (rows, classes or 1), against labels, shape (rows,)."""
        import numpy as np

        kind = kind_of(label_names)
        found = get_metric(metric or DEFAULT[kind], kind)
        if kind == "classification":
            classes = np.arange(len(label_names))
            found(classes, classes)  # refuses classes that it cannot score, before anything is written

        def score(outputs: NDArray[Any], labels: NDArray[Any]) -> Scores:
            return found(decisions(outputs), np.asarray(labels))

        return score

    def outputs(self, loaded: Loaded, rows: datasets.Dataset, batch_size: int, max_length: int | None) -> NDArray[Any]:
        """Return the classes' probabilities, shape (rows, classes), or the scores, shape (rows, 1)."""
        import numpy as np
        import torch

        from frostline.models import in_evaluation

        model = in_evaluation(loaded.model)
        parts = []
        for start in range(0, len(rows), batch_size):
            batch = self.inputs(loaded, rows[start : start + batch_size], max_length)
            with torch.inference_mode():
                logits = model(**{name: value.to(model.device) for name, value in batch.items()}).logits.float()
            parts.append((logits.softmax(-1) if loaded.label_names else logits).cpu().numpy())
        result: NDArray[Any] = np.concatenate(parts)
        return result

    def predictions(self, loaded: Loaded, rows: datasets.Dataset, outputs: NDArray[Any]) -> list[dict[str, Any]]:
        """Return for each row its class and the class's probability as `label` and `score`; its `score` alone else."""
        names, found = loaded.label_names, []
        for row, values in zip(rows, outputs, strict=True):
            best = int(values.argmax())
            label = {"label": names[best]} if names else {}
            found.append({**self.shown(row), **label, "score": float(values[best])})
        return found
