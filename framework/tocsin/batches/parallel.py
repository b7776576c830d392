"""The LightningDataModule of parallel sentences: read, filter, draw, tokenise once, and cut steps into passes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_info
from torch.utils.data import DataLoader

from tocsin.batches.cache import TokenStore, content_key, file_digest, tokenizer_digest
from tocsin.batches.pair_building import PairRules, build_pairs
from tocsin.batches.pair_corpus import PairCorpus
from tocsin.batches.pair_counts import PairCounts
from tocsin.batches.pair_filters import PairFilters
from tocsin.batches.pair_key import pairs_key
from tocsin.batches.pair_rows import PairRows, side_sentences
from tocsin.batches.pair_sampler import PairSampler, Sentences
from tocsin.batches.pair_sampling import PairOrder, Sampling, shares
from tocsin.batches.position import check_data, next_step
from tocsin.batches.protocols import ReadsTokens
from tocsin.batches.rows import StepLoader
from tocsin.batches.sentences import PairStep, SentencePass
from tocsin.batches.settings import check_pair_settings, check_share, packs_passes, pass_budget
from tocsin.batches.unknown import check_unknown, unknown_share
from tocsin.cache_entries import cached_folder, check_cache_room
from tocsin.errors import ConfigError
from tocsin.files import cache_folder
from tocsin.privacy import with_shown_paths
from tocsin.text.cleaners import Cleaner, NoCleaner
from tocsin.text.pairs import PairReader
from tocsin.text.progress import progress_bar, table_console

__all__ = ["ParallelSentences"]

_TOKENISED_AT_ONCE = 8192

# What a position means nothing without.
_COMPARED = ("corpus", "pairs_per_epoch", "batch_size", "pool_steps", "max_length", "seed")


class ParallelSentences(LightningDataModule):
    """English sentences and their translations, from any number of sources to optimiser steps.

    Filters come in this order: language, empty side, length, length ratio, equal sides, duplicates, held out, cap. The
    table at the start shows what each left, by source and language. Two pairs are duplicates if language and both sides
    are equal once normalised (NFKC, case folded, white space collapsed); the one of the first source stays. What is
    held out and what fits under a cap is drawn by a seeded hash of the pair, whatever the order of rows.

    Args:
        sources: Readers of pairs by name, such as {tatoeba: {class_path: PairTable, …}}.
        languages: Codes of the languages that are used; null for all that are read.
        languages_as: Codes that are to count as another, such as {pt_br: por}; applied first of all.
        cleaner: What is done to both sides before anything else; null for nothing.
        on_bad_pair: Whether the first pair that cannot be read ends the reading, or such pairs are counted and left
            out.
        max_characters: Pairs with a longer side are dropped, in characters; null for no limit.
        max_length_ratio: Pairs are dropped whose longer side has more than so many times the shorter one's characters;
            null for no limit. Between scripts the ratio differs: English has about 3 times the characters of Chinese.
        drop_identical: Whether pairs are dropped whose sides are equal once normalised.
        cap: Training pairs of a source and language at most; null for no cap.
        held_out: Pairs of a language, over all sources, that are held out for validation at most. An English sentence
            that is held out with one language is trained on with none.
        held_out_share: Share of a language's pairs that is held out at most, rounded down.
        sampling: How often a source and language is drawn. proportional: by its pairs. equal: each as often.
            temperature: a language by its pairs to the power alpha, its sources by theirs to the power source_alpha.
        alpha: Exponent of languages under `temperature`: 1 proportional, 0 equal.
        source_alpha: Exponent of the sources within a language under `temperature`; null for alpha.
        pairs_per_epoch: Pairs that an epoch draws; null for as many as there are. A smaller budget goes on where the
            epoch before stopped: no pair comes again before all of its source and language have come.
        max_length: The student's tokens that a sentence keeps at most, special tokens included.
        max_unknown: Largest share of tokens that the student's tokenizer may not know, from 0 to 1, of the English
            sentences and of the translations; sources with more are refused. 1 allows any.
        batch_size: Pairs of one optimiser step, over all devices.
        tokens_per_pass: Tokens that go through the student at once, padding included where it computes padding; bounds
            memory, changes no result. null: 1,024 on a CPU, 16,384 on a GPU.
        pool_steps: 1: plain shuffling. k: pairs of a step are drawn alike in length from shuffled pools of k steps
            (less padding; a step is then no random sample of all lengths).
        seed: Of shuffling and of what is held out or capped; null takes `seed_everything`'s.
        cache: Folder of the filtered pairs and their tokens; null for $TOCSIN_CACHE or ~/.cache/tocsin.
    """

    def __init__(
        self,
        sources: dict[str, PairReader],
        languages: list[str] | None = None,
        languages_as: dict[str, str] | None = None,
        cleaner: Cleaner | None = None,
        on_bad_pair: Literal["raise", "skip"] = "raise",
        max_characters: int | None = None,
        max_length_ratio: float | None = None,
        drop_identical: bool = True,
        cap: int | None = None,
        held_out: int = 100,
        held_out_share: float = 0.1,
        sampling: Sampling = "proportional",
        alpha: float = 0.5,
        source_alpha: float | None = None,
        pairs_per_epoch: int | None = None,
        max_length: int = 128,
        max_unknown: float = 0.5,
        batch_size: int = 64,
        tokens_per_pass: int | None = None,
        pool_steps: int = 1,
        seed: int | None = None,
        cache: str | None = None,
    ) -> None:
        super().__init__()
        self.allow_zero_length_dataloader_with_multiple_devices = True
        if not sources:
            raise ConfigError("ParallelSentences: sources is empty; name at least one, such as a PairTable.")
        check_pair_settings(
            {
                "max_characters": max_characters,
                "max_length_ratio": max_length_ratio,
                "cap": cap,
                "pairs_per_epoch": pairs_per_epoch,
                "max_length": max_length,
                "batch_size": batch_size,
                "tokens_per_pass": tokens_per_pass,
                "pool_steps": pool_steps,
            },
            {"held_out_share": held_out_share, "alpha": alpha, "source_alpha": source_alpha},
            held_out,
            languages,
        )
        self.sources = dict(sources)
        self.languages = None if languages is None else list(languages)
        self.languages_as = dict(languages_as or {})
        self.cleaner = cleaner or NoCleaner()
        self.on_bad_pair = on_bad_pair
        self.max_characters, self.max_length_ratio = max_characters, max_length_ratio
        self.drop_identical, self.cap = drop_identical, cap
        self.held_out, self.held_out_share = held_out, held_out_share
        self.sampling, self.alpha, self.source_alpha = sampling, alpha, source_alpha
        self.pairs_per_epoch = pairs_per_epoch
        self.max_length, self.batch_size = max_length, batch_size
        self.max_unknown = check_share("ParallelSentences", max_unknown)
        self.tokens_per_pass, self.pool_steps = tokens_per_pass, pool_steps
        self.seed, self.cache = seed, cache
        self._pairs: PairCorpus | None = None
        self._pairs_key = ""
        self._stores: dict[str, TokenStore] = {}
        self._pad_id = 0
        self._digests: dict[str, dict[str, str]] = {}
        self._told = False
        self._sampler: PairSampler | None = None
        self._position: dict[str, Any] | None = None

    # Reading ---------------------------------------------------------------------------------------------------------

    def pairs(self) -> PairCorpus:
        """Read and filter the pairs, or open what was read before; no tokenizer is needed.

        Raises:
            DataError: A file or a row of it is faulty, or a source or a wanted language has no pair left.
        """
        if self._pairs is None:
            rules = self._rules()
            files = {name: sorted(self._files(name).values()) for name in self.sources}
            self._pairs_key = pairs_key(self.sources, files, rules)
            path = self._folder("pairs") / self._pairs_key
            path = cached_folder(path, lambda part: self._build_pairs(part, rules))
            self._pairs = PairCorpus(path)
        return self._pairs

    def _build_pairs(self, folder: Path, rules: PairRules) -> None:
        # The pairs once, and once more in parts while they are sorted.
        files = (Path(file) for name in self.sources for file in self._files(name))
        check_cache_room(folder, 2 * sum(file.stat().st_size for file in files if file.is_file()))
        build_pairs(folder, self.sources, rules, progress=True)

    def _rules(self) -> PairRules:
        filters = PairFilters(
            self.cleaner,
            None if self.languages is None else frozenset(self.languages),
            self.languages_as,
            self.max_characters,
            self.max_length_ratio,
            self.drop_identical,
        )
        skip = self.on_bad_pair == "skip"
        return PairRules(filters, self.cap, self.held_out, self.held_out_share, self._seed(), skip)

    def counts(self) -> PairCounts:
        """Pairs by source and language after each filter."""
        return self.pairs().counts

    def _folder(self, kind: str) -> Path:
        return Path(self.cache) / kind if self.cache else cache_folder(kind)

    def _seed(self) -> int:
        return int(os.environ.get("PL_GLOBAL_SEED", "0")) if self.seed is None else self.seed

    def _files(self, name: str) -> dict[str, str]:
        """SHA-256 of each file of a source."""
        if name not in self._digests:
            self._digests[name] = {str(path): file_digest(path) for path in self.sources[name].files()}
        return self._digests[name]

    # Tokenising ------------------------------------------------------------------------------------------------------

    def _model(self) -> ReadsTokens:
        module = getattr(self.trainer, "lightning_module", None)
        if not isinstance(module, ReadsTokens):
            raise ConfigError(
                f"ParallelSentences takes its tokenizer from the student, but {type(module).__name__} offers none. Use "
                "Distiller, or give your LightningModule the properties `tokenizer` and `prompt`."
            )
        return module

    def prepare_data(self) -> None:
        """Filter and tokenise into the cache, on one process."""
        self._tokenise(self._model())

    def setup(self, stage: str) -> None:
        """Open the cache; before a fit, show the table of pairs."""
        if not self._stores:
            self._tokenise(self._model())
        if stage == "fit" and not self._told:
            self._told = True
            if self.trainer is not None and self.trainer.is_global_zero:
                table_console(stderr=True).print(self.counts().render())

    def _tokenise(self, model: ReadsTokens) -> None:
        corpus = self.pairs()
        tokenizer = model.tokenizer
        # The model may let go of the tokenizer once all is tokenised.
        self._pad_id = int(tokenizer.pad_token_id or 0)
        digest = tokenizer_digest(tokenizer)
        sides = {"english": corpus.english_total, "text-train": len(corpus.train_english)}
        sides["validation"] = corpus.validation_pairs().num_rows
        for side, sentences in sides.items():
            key = content_key(
                kind="pair tokens",
                side=side,
                pairs=self._pairs_key,
                tokenizer=digest,
                prompt=model.prompt,
                max_length=self.max_length,
            )
            path = self._folder("tokens") / f"{key}.arrow"
            what = "tokenising English" if side == "english" else f"tokenising {side}"
            with progress_bar(what, sentences, unit="sentences", show=not path.exists()) as advance:
                self._stores[side] = TokenStore.stream(
                    path,
                    corpus.texts(side, _TOKENISED_AT_ONCE),
                    tokenizer,
                    self.max_length,
                    model.prompt,
                    advance,
                )
            if side != "validation":
                what = "the English sentences" if side == "english" else "the translations"
                share = unknown_share(self._stores[side], tokenizer, model.prompt)
                check_unknown(share, self.max_unknown, what, tokenizer)

    def _store(self, side: str) -> TokenStore:
        if side not in self._stores:
            raise ConfigError("The pairs are not tokenised yet: call setup() through a Trainer first.")
        return self._stores[side]

    # What a model asks (protocol ServesPairs) ------------------------------------------------------------------------

    def english(self) -> pa.ChunkedArray:
        """The distinct English sentences `(E,)`, memory-mapped; those of the training split come first."""
        return self.pairs().english()

    def english_key(self) -> str:
        """Content key of `english()`: equal keys mean equal sentences in equal order."""
        return content_key(kind="english", english=self.pairs().english_digest)

    def english_rows(self, split: str) -> np.ndarray:
        """Numbers of the English sentences that a split needs, ascending, each once.

        Of the training split those alone whose pairs the fit will draw, where `pairs_per_epoch` and the Trainer's
        epochs leave some out: a small budget from a large corpus must not cost the teacher the whole corpus.
        """
        known = self.pairs().english_rows(split)
        epochs = self.trainer.max_epochs if split == "train" and self.trainer is not None else None
        if not self.pairs_per_epoch or not epochs or epochs < 0:  # without end: every pair may come
            return known
        rows = self._pair_rows("train")
        if self.pairs_per_epoch * epochs >= rows.pairs:
            return known
        steps = self._steps(rows, 0, 1)
        # A fit that goes on draws as it began, whatever the seed is now; Lightning makes the loader before it asks.
        if self._position is not None:
            steps.order.reseed(self._position["seed"])
        elif self._sampler is not None:
            steps.order.reseed(self._sampler.order.seed)
        return reduce(np.union1d, (steps.english_of(epoch) for epoch in range(epochs)))

    def pieces_in_use(self) -> np.ndarray:
        """Ids of the student's tokens that occur in the training split, sorted."""
        text, english = self._store("text-train"), self._store("english")
        found = text.pieces_in(range(len(text))), english.pieces_in(range(self.pairs().english_train))
        return np.union1d(*found)

    def validation_pairs(self) -> pa.Table:
        """The held-out pairs, a row each: `lang`, `source` and `text` (strings), `english` (int64 number)."""
        return self.pairs().validation_pairs()

    def sentence_passes(self, split: str, side: str) -> Iterator[SentencePass]:
        """Passes that cover the sentences of one side of a split, each once, longest first; see `ServesPairs`.

        `weight_B` is 1 for a translation, and for an English sentence the number of the split's pairs that share it.
        """
        rows = self._pair_rows(split)
        return (rows.sentence_pass(part) for part in self._side(split, side))

    def _side(self, split: str, side: str) -> Iterator[Sentences]:
        part = "english" if side == "english" else "text-train" if split == "train" else "validation"
        return side_sentences(self.pairs(), self._store(part), split, side, self._budget())

    def _pair_rows(self, split: str) -> PairRows:
        store = self._store("text-train" if split == "train" else "validation")
        return PairRows(store, self._store("english"), len(store), self._pad_id)

    def provenance(self) -> dict[str, Any]:
        """What the run record keeps: files with their SHA-256, counts, and the keys of the caches."""
        corpus = self.pairs()
        return {
            "files": with_shown_paths(
                {path: digest for name in self.sources for path, digest in self._files(name).items()}
            ),
            "sources": {name: type(reader).__name__ for name, reader in self.sources.items()},
            "pairs": {"train": len(corpus.train_english), "validation": corpus.validation_pairs().num_rows},
            "english": {
                "train": corpus.english_train,
                "validation": corpus.english_total - corpus.english_train,
            },
            "truncated": {side: store.truncated_messages() for side, store in self._stores.items()},
            "counts": corpus.counts.rows(),
            "pairs_key": self._pairs_key,
            "english_key": self.english_key(),
            "seed": self._seed(),
        }

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
        """One item an optimiser step: a `PairStep` with this rank's passes."""
        rows = self._pair_rows("train")
        self._sampler = self._steps(rows, *self._ranks())
        if self._position is not None:
            now = {**self._sampler.state_dict(), "max_length": self.max_length}
            check_data(self._position, {name: now[name] for name in _COMPARED})
            self._sampler.load_state_dict(self._position)
            self._position = None
        return StepLoader(rows, batch_sampler=self._sampler, collate_fn=rows.step)

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Let the model complete a training step while it is in the host's memory."""
        complete = getattr(self.trainer.lightning_module, "before_transfer", None) if self.trainer else None
        return complete(batch) if complete is not None and isinstance(batch, PairStep) else batch

    def first_passes(self) -> Iterator[SentencePass]:
        """Passes of a fit's first epoch, whole steps of one process, from its beginning."""
        rows = self._pair_rows("train")
        return (rows.sentence_pass(part) for step in self._steps(rows, 0, 1) for part in step)

    def _steps(self, rows: PairRows, rank: int, world_size: int) -> PairSampler:
        corpus = self.pairs()
        shares_G = shares(corpus.groups, self.sampling, self.alpha, self.source_alpha)
        sizes_G = np.array([pairs for _, _, pairs in corpus.groups])
        order = PairOrder(sizes_G, shares_G, self.pairs_per_epoch or rows.pairs, self._seed())
        return PairSampler(
            order,
            corpus.train_order,
            corpus.train_english,
            rows.text,
            rows.english,
            self.batch_size,
            self._budget(),
            self.pool_steps,
            content_key(pairs=self._pairs_key, sampling=[self.sampling, self.alpha, self.source_alpha]),
            rank,
            world_size,
            packs_passes(self.trainer),
        )

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """Passes of both sides of the held-out pairs, each sentence once over all ranks."""
        rows = self._pair_rows("validation")
        if not len(rows):
            rank_zero_info("No pair is held out; nothing is evaluated.")
            return []
        rank, world_size = self._ranks()
        parts = [part for side in ("text", "english") for part in self._side("validation", side)]
        first = self.pairs().english_rows("validation")[:1]
        # A rank without any pass would not take part when the ranks put their vectors together.
        filler = Sentences(np.array([-1]), np.asarray(first), np.zeros(1, np.float32))
        mine = parts[rank::world_size] or [filler]
        return DataLoader(rows, batch_sampler=[[part] for part in mine], collate_fn=rows.only_pass)

    # State -----------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Position in the training data, as plain data: the next epoch and optimiser step."""
        if self._sampler is None or self.trainer is None:
            return {}
        epoch, step = next_step(self.trainer)
        return {
            **self._sampler.state_dict(),
            "max_length": self.max_length,
            "epoch": epoch,
            "step": step,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take a position; it is applied when the training loader is made."""
        self._position = state_dict or None
