"""`frostline train`: from a config file, from flags, or both."""

from __future__ import annotations

import json
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from frostline.allocator import relaunch
from frostline.cli.report import draw
from frostline.errors import ConfigError, nearest

_ANSWERS = ("true", "false", "yes", "no", "on", "off")  # as YAML has them
OPTIONS = {"allow_extra_args": True, "ignore_unknown_options": True}


def train(
    context: typer.Context,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="[CONFIG.yaml] [key=value]...", help="A config file and keys that override it."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run folder's newest checkpoint.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run folder that exists.")] = False,
    no_report: Annotated[bool, typer.Option("--no-report", help="Draw no report into the run folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print run.json's content as the last line.")] = False,
) -> None:
    """Fine-tune a model. Every key is a flag, too: --method slimfit --rate 0.9 is method=slimfit settings.rate=0.9."""
    if resume and overwrite:
        raise ConfigError("--resume and --overwrite contradict each other: go on with the run, or start it anew.")
    from frostline.config import make_config, merge, parse_values, read_yaml

    path, overrides = parse([*(arguments or []), *context.args])
    values: dict[str, Any] = read_yaml(path) if path else {}
    if resume and path is None:
        values = _former_config(overrides)
    given = parse_values(overrides)
    relaunch(str(given.get("allocator", values.get("allocator"))))  # before anything heavy is loaded
    _load_plugins(given.get("plugins", values.get("plugins")))
    method = str(given.get("method", values.get("method", "full")))
    config = make_config(merge(values, given, _setting_names(method)))

    from rich.console import Console

    from frostline.planner.hindsight import hindsight
    from frostline.training.run import run
    from frostline.training.run_folder import RunFolder, write_json

    folder = RunFolder(config.output)
    over = resume and (folder.record() or {}).get("status") == "finished"
    record = run(
        config,
        resume=resume,
        overwrite=overwrite,
        console=Console(soft_wrap=True, markup=False, emoji=False, highlight=False),
    )
    if "prediction" not in record and not over:
        record["prediction"] = hindsight(config, record)
        with suppress(OSError):  # the run itself is whole
            write_json(folder.run, record)
    show(record, config.output)
    if not no_report:
        draw(config.output)
    if as_json:
        print(json.dumps(record))


def show(record: dict[str, Any], folder: Path) -> None:
    """Print in a line what a run came to."""
    score = "  ".join(f"{key} {value:.4f}" for key, value in record["metrics"].items())
    print(
        f"{score}  |  {record['trainable_parameters']:,} trainable  {record['step_seconds']:.3f} s a step  "
        f"{record['peak_bytes'] / 2**20:,.0f} MiB peak  |  {folder}"
    )


def parse(arguments: list[str]) -> tuple[Path | None, dict[str, str]]:
    """Return the config file and the overrides in `CONFIG.yaml key=value --key value --key=value`.

    A flag that is a yes or no may stand alone: `--enforce` is `--enforce=true`.

    Raises:
        ConfigError: a second file, a flag without a value, or a word that is neither.
    """
    path: Path | None = None
    overrides: dict[str, str] = {}
    words = deque(arguments)
    while words:
        word = words.popleft()
        key, equals, value = word.removeprefix("--").partition("=")
        if word.startswith("--"):
            key = key.replace("-", "_")
            if not equals:
                following = words[0] if words and not words[0].startswith("--") else None
                if key in _yes_or_no() and (following is None or following.lower() not in _ANSWERS):
                    value = "true"
                elif following is None:
                    raise ConfigError(f"the flag {word} needs a value: {word} VALUE")
                else:
                    value = words.popleft()
            overrides[key] = value
        elif equals:
            overrides[key] = value
        elif path is None:
            path = Path(word)
        else:
            raise ConfigError(f"{word!r} is neither key=value nor the only config file ({str(path)!r} came first).")
    return path, overrides


def _yes_or_no() -> frozenset[str]:
    """Return the keys of a run that are true or false."""
    from frostline.config import TrainConfig

    return frozenset(name for name, field in TrainConfig.model_fields.items() if field.annotation is bool)


def _load_plugins(plugins: Any) -> None:
    from frostline.methods.plugins import load

    if not isinstance(plugins, list | None) or not all(isinstance(name, str) for name in plugins or ()):
        raise ConfigError(f"plugins={plugins!r} is refused: write a list, for instance plugins=[my_method.py]")
    load(plugins or ())


def _setting_names(method: str) -> frozenset[str]:
    from frostline import methods

    if method not in methods.names():
        raise ConfigError(f"there is no method {method!r}{nearest(method, methods.names())}")
    return frozenset(methods.get(method).Settings.model_fields)


def _former_config(overrides: dict[str, str]) -> dict[str, Any]:
    from frostline.training.run_folder import RunFolder

    if "output" not in overrides:
        raise ConfigError("--resume needs the run folder: --output FOLDER, or the config file that names it.")
    record = RunFolder(Path(overrides["output"])).record()
    return dict(record["config"]) if record else {}


class _WithKeys(TyperCommand):
    """A command whose help ends with the keys of the config."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the usual help, then a line for each key."""
        super().format_help(ctx, formatter)
        from frostline.config import TrainConfig

        formatter.write("Keys, as key=value, --key value or in the config file:\n\n")
        for name, field in TrainConfig.model_fields.items():
            default = field.get_default(call_default_factory=True)
            shown = " [required]" if field.is_required() else "" if default in (None, [], {}) else f" [{default}]"
            formatter.write(f"  {name:27} {field.description}{shown}\n")
        formatter.write("\nThe settings of a method are keys, too; `frostline methods` lists them.\n")


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("train", cls=_WithKeys, context_settings=OPTIONS)(train)
