"""How a component of each role is put to use, for the README of a plugin that `tocsin new-plugin` writes."""

from __future__ import annotations

__all__ = ["USES"]

_DATA = """\
In YAML:

```yaml
data:
  class_path: LabelledMessages
  init_args:
    {}
```
"""

_MODEL = """\
In YAML:

```yaml
model:
  class_path: MultilabelClassifier
  init_args:
    {}
```
"""

_PYTHON = """\
From Python:

```python
{}
```
"""

_SCORES = """\
from tocsin.plugins import ScoresTable
from $module.$role import $component

validation = ScoresTable.read("runs/NAME/latest-fit/scores/validation.parquet")
test = ScoresTable.read("runs/NAME/latest-test/scores/test.parquet")
"""

_MODELS = """\
from tocsin.plugins import ScoresTable
from $module.$role import $component

fits = ["runs/one/latest-fit", "runs/two/latest-fit"]
tests = ["runs/one/latest-test", "runs/two/latest-test"]
validation = [ScoresTable.read(fit + "/scores/validation.parquet") for fit in fits]
test = [ScoresTable.read(each + "/scores/test.parquet") for each in tests]
"""

USES = {
    "reader": _DATA.format("train: messages.records\n    reader: $component"),
    "pair_reader": _PYTHON.format(
        "from $module.$role import $component\n\n"
        'for batch in $component(["pairs.tsv"], lang="fr").batches():\n'
        '    print(batch["english"], batch["text"])'
    ),
    "cleaner": _DATA.format("train: messages.csv\n    cleaner: $component"),
    "splitter": _DATA.format(
        "train: messages.csv\n"
        "    splitter: {class_path: $component, init_args: {column: event, test: [flood-2024]}}"
    ),
    "label_scheme": (
        "In YAML:\n\n```yaml\nlabels: {class_path: $component, init_args: {names: [water, food, fire]}}\n```\n"
    ),
    "encoder": _MODEL.format("encoder: {class_path: $component, init_args: {name: path/or/hub-name}}"),
    "pooling": _MODEL.format("pooling: $component\n    head: LinearHead"),
    "head": _MODEL.format("pooling: MeanPooling\n    head: $component"),
    "loss": _MODEL.format("loss: $component"),
    "vector_loss": (
        "In YAML:\n\n```yaml\nmodel:\n  class_path: Distiller\n  init_args:\n    losses: [$component]\n```\n"
    ),
    "optimizer": _MODEL.format("optimizer: {class_path: $component, init_args: {lr: 0.01}}"),
    "schedule": _MODEL.format("schedule: $component"),
    "calibrator": _PYTHON.format(_SCORES + "calibrated = $component().fit(validation).apply(test)"),
    "ensembler": _PYTHON.format(_MODELS + "joint = $component().fit(validation).apply(test)"),
    "decision_rule": _PYTHON.format(_SCORES + "decided = $component().fit(validation).apply(test)"),
    "exporter": (
        "```\ntocsin export --bundle runs/NAME/latest-fit/bundle --exporter $component --output exported\n```\n"
    ),
}
"""Role -> Markdown, with `$component`, `$module` and `$role` to be filled in."""
