"""What docs/scores.md says of other programs' scores, with a scikit-learn model and a transformers Trainer."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.builders import LABELS, WORDS, tiny_encoder
from tocsin.cli.main import main

pandas = pytest.importorskip("pandas")
metrics = pytest.importorskip("sklearn.metrics")

PAGE = Path(__file__).parents[2] / "docs" / "scores.md"
MESSAGES = 240
DRAWS = ["--draws", "50"]


def snippets() -> list[str]:
    """The two programs of the section: scikit-learn's and transformers'."""
    section = PAGE.read_text("utf-8").split("## Other programs' scores")[1].split("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    first, second = code.split("\n\n")
    return [first, second]


def made(seed: int) -> tuple[list[str], list[str], np.ndarray]:
    """Ids, texts and (N, L) targets: a label is on where its word stands, but for one in ten."""
    generator = np.random.default_rng(seed)
    texts, targets = [], []
    for _ in range(MESSAGES):
        words = generator.choice(WORDS, size=8)
        on = np.array([word in words for word in WORDS[: len(LABELS)]])
        targets.append(on ^ (generator.random(len(LABELS)) < 0.1))
        texts.append(" ".join(words))
    return [f"m{seed}-{number:03d}" for number in range(MESSAGES)], texts, np.array(targets, dtype=np.int8)


def with_scikit_learn(folder: Path) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.pipeline import make_pipeline

    _, texts, targets = made(0)
    model = make_pipeline(TfidfVectorizer(), OneVsRestClassifier(LogisticRegression()))
    return {"model": model.fit(texts, targets)}


def with_transformers(folder: Path) -> Any:
    pytest.importorskip("accelerate")
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments

    tiny_encoder(folder / "encoder")
    tokenizer = AutoTokenizer.from_pretrained(folder / "encoder")
    model = AutoModelForSequenceClassification.from_pretrained(
        folder / "encoder", num_labels=len(LABELS), problem_type="multi_label_classification"
    )

    class Rows(torch.utils.data.Dataset):
        def __init__(self, seed: int) -> None:
            _, texts, self.targets = made(seed)
            self.encoded = tokenizer(texts, padding=True)

        def __len__(self) -> int:
            return MESSAGES

        def __getitem__(self, number: int) -> dict[str, Any]:
            row = {name: torch.tensor(values[number]) for name, values in self.encoded.items()}
            return {**row, "labels": torch.tensor(self.targets[number], dtype=torch.float32)}

    arguments = TrainingArguments(
        output_dir=str(folder / "trainer"),
        max_steps=20,
        learning_rate=1e-2,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        dataloader_pin_memory=False,
        disable_tqdm=True,
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=Rows(0))
    trainer.train()
    return trainer, Rows


@pytest.mark.filterwarnings("default")  # of the peers' own making
@pytest.mark.parametrize("program", ["scikit-learn", "transformers"])
def test_another_programs_scores_go_through_every_verb_unchanged(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tocsin_calibration")
    monkeypatch.chdir(tmp_path)
    which = 0 if program == "scikit-learn" else 1
    fitted: Any = (with_scikit_learn, with_transformers)[which](tmp_path)
    written, files = ("scores.csv", "scores.parquet")[which], []
    for seed in (1, 2):
        ids, texts, targets = made(seed)
        known: dict[str, Any] = {"pandas": pandas, "ids": ids, "labels": list(LABELS), "texts": texts}
        known |= {"targets": targets} | (
            fitted if which == 0 else {"trainer": fitted[0], "dataset": fitted[1](seed)}
        )
        exec(snippets()[which], known)  # the page's own lines
        files.append(Path(written).rename(f"{seed}-{written}").name)

    assert main(["evaluate", *DRAWS, "--scores", files[1], "--output", "evaluated"]) == 0
    frame = pandas.read_csv(files[1]) if which == 0 else pandas.read_parquet(files[1])
    column = "prob" if which == 0 else "logit"
    expected = np.mean(
        [metrics.average_precision_score(frame[f"target.{x}"], frame[f"{column}.{x}"]) for x in LABELS]
    )
    found = json.loads(Path("evaluated/metrics.json").read_text("utf-8"))
    assert found["results"][0]["metrics"]["macro_average_precision"] == pytest.approx(expected, abs=1e-6)

    assert (
        main(["calibrate", *DRAWS, "--scores", files[0], "--apply", files[1], "--output", "calibrated"]) == 0
    )
    (calibrated,) = Path("calibrated").glob(f"{Path(files[1]).stem}*.parquet")
    assert main(["compare", *DRAWS, "--scores", files[1], str(calibrated)]) == 0
    assert "macro" in capsys.readouterr().out.lower()
