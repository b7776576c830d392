"""The LightningDataModule of labelled messages: read, clean, split, tokenise once, and cut steps into passes."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_info
from torch.utils.data import DataLoader

from tocsin.batches.balance import negatives_of, positives_of, repeat_factors, sampling_facts
from tocsin.batches.cache import TokenStore, content_key, file_digest, texts_digest, tokenizer_digest
from tocsin.batches.corpus import Corpus
from tocsin.batches.passes import MessagePass, cut_passes
from tocsin.batches.position import check_data, next_step
from tocsin.batches.protocols import ReadsTokens
from tocsin.batches.rare_labels import RareLabelWarning, check_known, check_rare_labels
from tocsin.batches.reading import SplitWarning, assemble_corpus
from tocsin.batches.rows import SplitRows, StepLoader
from tocsin.batches.sampler import PassSampler, StepSampler
from tocsin.batches.settings import (
    check_counts,
    check_settings,
    check_share,
    file_names,
    packs_passes,
    pass_budget,
)
from tocsin.batches.unknown import check_unknown, unknown_share
from tocsin.errors import ConfigError, DataError
from tocsin.files import cache_folder
from tocsin.labels.schemes import LabelScheme
from tocsin.privacy import with_shown_paths
from tocsin.text.audit import Audit, audit
from tocsin.text.cleaners import Cleaner, NoCleaner
from tocsin.text.messages import source_column
from tocsin.text.progress import progress_bar, table_console
from tocsin.text.readers import Reader, reader_for, resolve_data_paths
from tocsin.text.splitters import GroupedSplit, Splitter

__all__ = ["LabelledMessages", "RareLabelWarning", "SplitWarning"]

_SPLITS_OF = {"fit": ("train", "validation"), "validate": ("validation",), "test": ("test",)}


class LabelledMessages(LightningDataModule):
    """Messages with labels, from files to optimiser steps.

    Args:
        labels: The label scheme (linked from the top-level `labels` of a config).
        train: File or files of messages (Parquet, CSV, TSV, JSON, Arrow; text also packed, as .csv.gz), folders of
            them, or patterns such as events/*/tweets.csv, relative to data/ or to $TOCSIN_DATA. Without `validation`
            and `test`, the splitter divides its rows into the three splits.
        validation: File or files of the validation split; leave null where the splitter makes it.
        test: File or files of the test split; leave null where the splitter makes it.
        text: Column that holds the message.
        id: Column that identifies a message; null numbers the rows.
        lang: Column that holds its language code; null for none.
        slices: Further columns carried into the scores table, to report by.
        reader: How files are read; null chooses by the file's ending.
        on_error: Whether a row that cannot be read stops everything, or is left out, said and counted in the audit. A
            torn file, and one without any good row, stops everything.
        path_columns: Further columns made of each file's path, by name: `folder` (name of the folder that holds it),
            `file` (its name) or `stem` (its name up to the first point), such as {event: folder}. Carried as `slices`.
        cleaner: What is done to each text before anything else; null for nothing.
        on_empty: Whether messages without text after cleaning are dropped (and counted) or kept.
        splitter: How rows are divided; null: GroupedSplit by duplicates.
        max_messages: Most messages of a split that are used, such as {train: 6000}, drawn by a seeded hash of the id.
        max_length: Tokens a message keeps at most, special tokens included.
        max_unknown: Largest share of the messages' tokens that the tokenizer may not know, from 0 to 1; a corpus with
            more is refused, since little can be learned from it. 1 allows any.
        batch_size: Messages of one optimiser step, over all devices.
        tokens_per_pass: Tokens that go through the model at once, padding included where it computes padding; bounds
            memory, changes no result. null: 1,024 on a CPU, 16,384 on a GPU.
        pool_steps: 1: plain shuffling. k: messages of a step are drawn alike in length from shuffled pools of k steps
            (less padding; a step is then no random sample of all lengths).
        balanced: null: each training message comes once an epoch. A share t, such as 0.01: repeat-factor sampling
            (Gupta et al. 2019, arXiv 1908.03195). A message with a label that is on in the share f < t of the training
            messages comes sqrt(t/f) times an epoch, by its rarest label; the others once. It has a bias: the model sees
            more positives of rare labels, and of labels that go with them, than there are, so probabilities lean
            upwards and want calibration; an epoch is longer; few messages seen often are soon learned by heart. The
            share that is seen is recorded, and stands in the model card. Losses that weigh rare labels too (pos_weight:
            auto) count the messages without repeats, and would correct twice: use one of the two.
        min_positives: Positive training messages that a label should have at least (from 0.5 up, of soft labels).
        on_rare: What a fit does about a label with fewer, or without a negative: warn, refuse, or ignore it.
        seed: Of shuffling and of `max_messages`; null takes `seed_everything`'s.
        cache: Folder of token caches; null for $TOCSIN_CACHE or ~/.cache/tocsin.
    """

    def __init__(
        self,
        labels: LabelScheme,
        train: str | list[str],
        validation: str | list[str] | None = None,
        test: str | list[str] | None = None,
        text: str = "text",
        id: str | None = "id",
        lang: str | None = None,
        slices: list[str] | None = None,
        reader: Reader | None = None,
        cleaner: Cleaner | None = None,
        on_empty: Literal["drop", "keep"] = "drop",
        splitter: Splitter | None = None,
        max_messages: dict[str, int] | None = None,
        max_length: int = 128,
        max_unknown: float = 0.5,
        batch_size: int = 32,
        tokens_per_pass: int | None = None,
        pool_steps: int = 1,
        balanced: float | None = None,
        min_positives: int = 1,
        on_rare: Literal["warn", "refuse", "ignore"] = "warn",
        seed: int | None = None,
        cache: str | None = None,
        on_error: Literal["raise", "skip"] = "raise",
        path_columns: dict[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.allow_zero_length_dataloader_with_multiple_devices = True
        check_counts(max_length=max_length, batch_size=batch_size, pool_steps=pool_steps)
        check_settings(tokens_per_pass, balanced, min_positives, max_messages or {})
        if splitter is not None and (validation is not None or test is not None):
            raise ConfigError(
                "LabelledMessages: a splitter divides `train` into three splits, but `validation` or "
                "`test` files are given too. "
                "Leave out one or the other."
            )
        self.labels = labels
        self.files = {
            "train": file_names(train, "train", needed=True),
            "validation": file_names(validation, "validation"),
            "test": file_names(test, "test"),
        }
        self.text, self.id, self.lang = text, id, lang
        self.slices = list(slices or [])
        self.reader = reader
        self.on_error = on_error
        self.path_columns = dict(path_columns or {})
        self.cleaner = cleaner or NoCleaner()
        self.on_empty = on_empty
        separate = validation is not None or test is not None
        self.splitter: Splitter | None = splitter or (None if separate else GroupedSplit())
        self.max_messages = dict(max_messages or {})
        self.max_length, self.max_unknown = max_length, check_share("LabelledMessages", max_unknown)
        self.batch_size = batch_size
        self.tokens_per_pass = tokens_per_pass
        self.pool_steps = pool_steps
        self.balanced, self.min_positives, self.on_rare = balanced, min_positives, on_rare
        self.seed = seed
        self.cache = cache
        self.audit: Audit | None = None
        self._corpus: Corpus | None = None
        self._tokens: TokenStore | None = None
        self._pad_id = 0
        self._tokens_key = ""
        self._texts = ""
        self._digests: dict[str, str] = {}
        self._sampler: StepSampler | None = None
        self._data_digest: str | None = None
        self._position: dict[str, Any] | None = None

    # Reading ---------------------------------------------------------------------------------------------------------

    def corpus(self) -> Corpus:
        """Read, clean and split; no tokenizer is needed. Read once.

        Raises:
            DataError: A file or a row of it is faulty, or no message is left to train on.
            LabelError: A label is missing from the files, or has a value that means nothing.
        """
        if self._corpus is None:
            self._corpus = self._read()
        return self._corpus

    def find_label_names(self) -> bool:
        """Let a label scheme that has no names yet find them in the train files; return whether it did.

        Raises:
            DataError: A file cannot be read.
            LabelError: No name is found, or one that cannot be.
        """
        if not self.labels.unnamed:
            return False
        named = [
            self.text,
            self.id,
            self.lang,
            *self.slices,
            *(self.splitter.columns if self.splitter else ()),
        ]
        paths = [path for name in self.files["train"] for path in resolve_data_paths(name, self.reader)]
        self.labels.find_names(paths, self.reader, [name for name in named if name is not None])
        return True

    def _read(self) -> Corpus:
        self.find_label_names()
        return assemble_corpus(
            self.labels,
            self.files,
            text=self.text,
            id=self.id,
            lang=self.lang,
            slices=[*self.slices, *(name for name in self.path_columns if name not in self.slices)],
            reader=self.reader,
            on_error=self.on_error,
            path_columns=self.path_columns,
            cleaner=self.cleaner,
            on_empty=self.on_empty,
            splitter=self.splitter,
            max_messages=self.max_messages,
            seed=self._seed(),
        )

    def _seed(self) -> int:
        return int(os.environ.get("PL_GLOBAL_SEED", "0")) if self.seed is None else self.seed

    def _file_digests(self) -> dict[str, str]:
        if not self._digests:
            names = [name for each in self.files.values() for name in each]
            paths = [path for name in names for path in resolve_data_paths(name, self.reader)]
            self._digests = {str(path): file_digest(path) for path in paths}
        return self._digests

    # Tokenising ------------------------------------------------------------------------------------------------------

    def _model(self) -> ReadsTokens:
        module = getattr(self.trainer, "lightning_module", None)
        if not isinstance(module, ReadsTokens):
            raise ConfigError(
                f"LabelledMessages takes its tokenizer from the model, but {type(module).__name__} offers none. Use "
                "MultilabelClassifier, or give your LightningModule the properties `tokenizer` and `prompt`."
            )
        return module

    def prepare_data(self) -> None:
        """Tokenise into the cache, on one process."""
        self._tokenise(self._model())

    def setup(self, stage: str) -> None:
        """Open the cache; before a fit, audit the data.

        Raises:
            LabelError: No label of a split's messages is known; or, under `on_rare: refuse`, labels have too few
                positive training messages, or no negative one.
        """
        check_known(self.corpus(), _SPLITS_OF.get(stage, ()))
        if self._tokens is None:
            self._tokenise(self._model())
        if stage == "fit" and self.audit is None:
            self.audit = self._audit()
            if self.trainer is not None and self.trainer.is_global_zero:
                table_console(stderr=True).print(self.audit.render())
            self._check_rare_labels()

    def _check_rare_labels(self) -> None:
        train = self.rows("train")
        if self.on_rare == "ignore" or not len(train):  # without any message the loader says so
            return
        targets_NL = self.targets(train)
        check_rare_labels(
            self.corpus().label_names,
            positives_of(targets_NL),
            negatives_of(targets_NL),
            self.min_positives,
            refuse=self.on_rare == "refuse",
        )

    def _tokenise(self, model: ReadsTokens) -> None:
        corpus = self.corpus()
        tokenizer = model.tokenizer
        self._texts = texts_digest(corpus.table["text"])
        # The model may let go of the tokenizer once all is tokenised.
        self._pad_id = int(tokenizer.pad_token_id or 0)
        self._tokens_key = content_key(
            files=sorted(self._file_digests().values()),
            reader=[type(self.reader or reader_for(Path(name))).__name__ for name in self._file_digests()],
            text=self.text,
            cleaner=[type(self.cleaner).__module__, type(self.cleaner).__qualname__, self.cleaner.arguments],
            on_empty=self.on_empty,
            # The rows themselves: a reader or cleaner whose code changed gives other texts under the same name.
            texts=self._texts,
            tokenizer=tokenizer_digest(tokenizer),
            prompt=model.prompt,
            max_length=self.max_length,
        )
        folder = Path(self.cache) if self.cache else cache_folder("tokens")
        path = folder / f"{self._tokens_key}.arrow"
        texts = corpus.table["text"]
        with progress_bar("tokenising", len(texts), unit="messages", show=not path.exists()) as advance:
            self._tokens = TokenStore.build(path, texts, tokenizer, self.max_length, model.prompt, advance)
        share = unknown_share(self._tokens, tokenizer, model.prompt)
        check_unknown(share, self.max_unknown, "the messages", tokenizer)

    def _audit(self) -> Audit:
        corpus, tokens = self.corpus(), self._store()
        return audit(
            corpus.table,
            corpus.split_names,
            list(corpus.label_names),
            corpus.hard_targets_NL,
            tokens.lengths,
            tokens.truncated,
            tokens.unknown,
            self.max_length,
            corpus.crossing,
            read=corpus.facts,
        )

    def _store(self) -> TokenStore:
        if self._tokens is None:
            raise ConfigError("The messages are not tokenised yet: call setup() through a Trainer first.")
        return self._tokens

    # What a model asks (protocol ServesMessages) ---------------------------------------------------------------------

    def rows(self, split: str) -> np.ndarray:
        """Row numbers of a split, ascending, `(n,)`."""
        return self.corpus().rows(split)

    def targets(self, rows: np.ndarray) -> np.ndarray:
        """Targets `(n, L)` float32 in [0, 1], NaN where unknown."""
        return self.corpus().targets_NL[rows]

    def prior(self) -> np.ndarray:
        """Share of positives of each label among known training labels, `(L,)`, NaN where none is known.

        As the files have them, whatever `balanced` repeats; of soft labels, the mean probability.
        """
        return self.corpus().prior()

    def pieces_in_use(self) -> np.ndarray:
        """Token ids that occur in the training split, sorted."""
        return self._store().pieces_in(self.rows("train"))

    def tokens_key(self) -> str:
        """Content key of the token cache."""
        return self._tokens_key

    def describe(self, rows: np.ndarray) -> dict[str, Any]:
        """`ids`, `langs` and `slices` of these rows, for the scores table."""
        needed = ["id", "lang", *self.slices]
        whole = self.corpus().table
        # Only what is asked for: taking rows copies them, texts and all.
        table = whole.select([name for name in whole.column_names if name.removeprefix("source:") in needed])
        table = table.take(pa.array(rows))

        def values(column: pa.ChunkedArray) -> np.ndarray:
            return np.array(column.to_pylist(), dtype=object)

        return {
            "ids": values(table["id"]),
            "langs": values(table["lang"]) if self.lang is not None else None,
            "slices": {name: values(source_column(table, name)) for name in self.slices},
        }

    def passes(self, rows: np.ndarray) -> Iterator[MessagePass]:
        """Passes that cover these rows, each once, longest first."""
        data = self._split_rows(rows)
        for chosen in cut_passes(data.lengths, self._budget()):
            yield data.message_pass(chosen)

    def provenance(self) -> dict[str, Any]:
        """What the run record keeps: files with their SHA-256, counts, and the key of the token cache."""
        corpus = self.corpus()
        label_files = with_shown_paths({str(path): file_digest(path) for path in self.labels.files})
        return {
            "files": with_shown_paths(self._file_digests()),
            "messages": corpus.counts(),
            "read": corpus.facts,
            "limits": corpus.limits,
            "crossing": corpus.crossing,
            "labels_digest": self.labels.digest,
            **({"label_files": label_files} if label_files else {}),
            **({"sampling": sampling} if (sampling := self._sampling()) else {}),
            "prior": [None if np.isnan(p) else float(p) for p in corpus.prior()],
            "tokens_key": self._tokens_key,
            "seed": self._seed(),
        }

    def _factors(self) -> np.ndarray | None:
        """How often each training message comes in an epoch, `(n,)`; None for once."""
        if self.balanced is None:
            return None
        return repeat_factors(self.targets(self.rows("train")), self.balanced)

    def _sampling(self) -> dict[str, Any] | None:
        factors = self._factors()
        if factors is None or self.balanced is None:
            return None
        return sampling_facts(self.targets(self.rows("train")), factors, self.balanced)

    def _split_rows(self, rows: np.ndarray) -> SplitRows:
        return SplitRows(self._store(), rows, self.targets(rows), self._pad_id)

    @property
    def pad_id(self) -> int:
        """The tokenizer's padding id, once all is tokenised."""
        return self._pad_id

    @property
    def pass_tokens(self) -> int:
        """Tokens of a pass: `tokens_per_pass`, or what suits the device."""
        return self._budget()

    def _budget(self) -> int:
        return pass_budget(self.tokens_per_pass, self.trainer)

    # Loaders ---------------------------------------------------------------------------------------------------------

    def _ranks(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)

    def train_dataloader(self) -> DataLoader[Any]:
        """One item an optimiser step: a `Step` with this rank's passes.

        Raises:
            DataError: The training split is empty.
        """
        data = self._split_rows(self.rows("train"))
        if not len(data):
            raise DataError(
                "the training split holds no message. Look at the splitter and at max_messages.",
                file=self.files["train"][0],
            )
        rank, world_size = self._ranks()
        self._sampler = StepSampler(
            data.lengths,
            self.batch_size,
            self._budget(),
            self.pool_steps,
            self._seed(),
            rank,
            world_size,
            self._factors(),
            packs_passes(self.trainer),
        )
        if self._position is not None:
            check_data(self._position, {**self._facts(), "seed": self._seed()})
            self._sampler.load_state_dict(self._position)
            self._position = None
        return StepLoader(data, batch_sampler=self._sampler, collate_fn=data.step)

    def _evaluation_loader(self, split: str) -> DataLoader[Any] | list[Any]:
        data = self._split_rows(self.rows(split))
        if not len(data):
            rank_zero_info(f"The {split} split holds no message; nothing is evaluated on it.")
            return []
        sampler = PassSampler(data.lengths, self._budget(), *self._ranks())
        return DataLoader(data, batch_sampler=sampler, collate_fn=data.only_pass)

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """Passes of the validation split, each message once over all ranks."""
        return self._evaluation_loader("validation")

    def test_dataloader(self) -> DataLoader[Any] | list[Any]:
        """Passes of the test split, each message once over all ranks."""
        return self._evaluation_loader("test")

    # State -----------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Position in the training data, as plain data: the next epoch and optimiser step."""
        if self._sampler is None or self.trainer is None:
            return {}
        epoch, step = next_step(self.trainer)
        return {**self._sampler.state_dict(), **self._facts(), "epoch": epoch, "step": step}

    def _facts(self) -> dict[str, Any]:
        """What a position means nothing without."""
        if self._data_digest is None:
            train = self.rows("train")
            parts = [hashlib.sha256(array.tobytes()).hexdigest() for array in (train, self.targets(train))]
            self._data_digest = content_key(texts=self._texts, train=parts)
        return {
            "batch_size": self.batch_size,
            "pool_steps": self.pool_steps,
            "max_length": self.max_length,
            "data": self._data_digest,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take a position; it is applied when the training loader is made."""
        self._position = state_dict or None
