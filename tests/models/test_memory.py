"""What a fit keeps in memory: mapped tables, tokenizers and gradients take less, and every bit is as it was."""

import gc
import hashlib
import os
import shutil
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.pytorch import Callback
from safetensors.torch import load_file, save_file
from tokenizers.pre_tokenizers import PreTokenizer, Whitespace
from torch.nn import functional as F

from tests.builders import quiet_trainer, tiny_classifier, tiny_data, tiny_encoder
from tests.models.test_sentence_encoder import sentence_folder
from tests.pairs import MemoryPairs, tiny_distiller
from tocsin.models import mapped, stepping, vocabulary
from tocsin.models.checkpointing import source_digest
from tocsin.models.encoders import TransformerEncoder
from tocsin.models.gradients import put_side_by_side
from tocsin.models.heap import give_back
from tocsin.models.mapped import Source, blocks_of, copy_of, rows_of, source_of
from tocsin.models.sentence_encoder import SentenceEncoder
from tocsin.models.stepping import StepsByHand
from tocsin.models.teacher import LoadedTeacher, Teacher
from tocsin.models.vocabulary import RowsInUse

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat small tensors as large ones; a block ends inside rows."""
    monkeypatch.setattr(mapped, "_SMALL", 1)
    monkeypatch.setattr(mapped, "_BLOCK", 1000)


def mapped_table(path: Path, rows: int = 700, width: int = 12, dtype: torch.dtype = torch.float32) -> Any:
    """A table that lies in a file after another tensor, mapped from there; and an equal one in memory."""
    torch.manual_seed(0)
    table = torch.randn(rows, width).to(dtype)
    save_file({"before": torch.randn(3), "table": table}, path)
    return load_file(path)["table"], table


def resident_of_files() -> int:
    """Pages of files in this process's memory, in bytes."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("RssFile")).split()[1]) * 1024


# Tables that are mapped from a file ----------------------------------------------------------------------------------


@on_linux
@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("in_file", [True, False])
def test_rows_copies_and_blocks_are_bit_equal(tmp_path: Path, dtype: torch.dtype, in_file: bool) -> None:
    lying, table = mapped_table(tmp_path / "t.safetensors", dtype=dtype)
    read = lying if in_file else table.clone()
    source = source_of(read)
    assert (source is not None) == in_file
    rows = torch.tensor([0, 1, 5, 83, 84, 85, 300, 698, 699])
    assert torch.equal(rows_of(read, rows, source), table[rows])
    assert torch.equal(rows_of(read, rows[:0], source), table[:0])
    assert torch.equal(copy_of(read, source), table)
    assert copy_of(read, source).data_ptr() != read.data_ptr()
    assert torch.equal(torch.cat([block.clone() for _, block in blocks_of(read, source)]), table.flatten())
    assert torch.equal(read, table)


@on_linux
@pytest.mark.usefixtures("small")
def test_the_place_in_the_file_is_that_of_the_tensor(tmp_path: Path) -> None:
    lying, table = mapped_table(tmp_path / "a file of weights.safetensors")
    source = source_of(lying)
    assert source is not None
    assert source.path == tmp_path / "a file of weights.safetensors"
    size = table.numel() * 4
    assert source.path.read_bytes()[source.offset : source.offset + size] == table.numpy().tobytes()
    part = source_of(lying[100:])
    assert part is not None
    assert part.offset == source.offset + 100 * 12 * 4
    assert source_of(lying[:, 3:]) is None  # not contiguous


@on_linux
@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("late", [False, True])
def test_a_table_that_was_written_to_is_read_from_memory(tmp_path: Path, late: bool) -> None:
    lying, table = mapped_table(tmp_path / "t.safetensors")
    source = source_of(lying) if late else None
    lying[350, 7] = 5.0
    table[350, 7] = 5.0
    assert source_of(lying) is None
    assert torch.equal(copy_of(lying, source), table)
    assert torch.equal(rows_of(lying, torch.tensor([349, 350, 351]), source), table[349:352])


@on_linux
@pytest.mark.usefixtures("small")
def test_a_page_shared_with_another_tensor_may_be_written_to(tmp_path: Path) -> None:
    """An optimiser writes to the neighbours of a table in its file."""
    path = tmp_path / "t.safetensors"
    torch.manual_seed(0)
    save_file({name: torch.randn(700, 12) for name in ("after", "table", "until")}, path)
    tensors = load_file(path)
    table, source = tensors["table"].clone(), source_of(tensors["table"])
    assert source is not None
    tensors["after"] += 1
    tensors["until"] += 1
    tensors["table"][0, 0] = 7.0  # in the shared page, so that only memory knows
    tensors["table"][-1, -1] = 8.0
    table[0, 0], table[-1, -1] = 7.0, 8.0
    read = []
    fill = mapped._fill
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(mapped, "_fill", lambda *given: read.append(fill(*given)) or read[-1])
        assert torch.equal(copy_of(tensors["table"], source), table)
    assert read
    assert all(read)  # from the file, but for the ends


@on_linux
@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("how", ["deleted", "replaced", "written to", "short", "unreadable"])
def test_where_the_file_is_another_the_mapping_is_read(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.safetensors"
    lying, table = mapped_table(path)
    source = source_of(lying)
    assert source is not None
    if how == "unreadable":
        # Root may read anything, so that no mode of the file would do.
        monkeypatch.setattr(mapped.os, "preadv", lambda *given: (_ for _ in ()).throw(OSError("no")))
    elif how == "short":
        monkeypatch.setattr(mapped.os, "preadv", lambda *given: 7)
    elif how == "replaced":
        save_file({"table": table + 1}, tmp_path / "new")
        os.replace(tmp_path / "new", path)
        assert source_of(lying) is None
    elif how == "written to":
        # On a file system with layers a mapping keeps the old bytes then, under the same inode.
        with path.open("r+b") as file:
            file.seek(source.offset)
            file.write(
                table[:50].numpy().tobytes()
            )  # the same, so that this file system's mapping stays right
        os.utime(path, ns=(1, 1))
        opened = []
        monkeypatch.setattr(mapped, "_fill", lambda *given: opened.append(given))
    else:
        path.unlink()
        assert source_of(lying) is None
    assert torch.equal(copy_of(lying, source), table)
    assert torch.equal(rows_of(lying, torch.tensor([3, 699]), source), table[[3, 699]])
    if how == "written to":
        assert not opened


@pytest.mark.parametrize("rows", [[3, 1], [2, 2], [0, 60]])
def test_rows_that_do_not_ascend_are_taken_as_they_are_asked_for(rows: list[int]) -> None:
    table = torch.randn(60, 3)
    source = Source(Path("none"), 0, table.data_ptr(), ())
    if max(rows) >= 60:
        with pytest.raises(IndexError):
            rows_of(table, torch.tensor(rows), source)
    else:
        assert torch.equal(rows_of(table, torch.tensor(rows), source), table[rows])


@given(
    width=st.integers(1, 40),
    block=st.integers(1, 300),
    picked=st.sets(st.integers(0, 59), max_size=60),
)
@settings(max_examples=40, deadline=None)
def test_rows_come_whole_wherever_blocks_end(width: int, block: int, picked: set[int]) -> None:
    table = torch.arange(60 * width, dtype=torch.float32).view(60, width)
    flat = table.flatten()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            mapped,
            "blocks_of",
            lambda tensor, source: ((at, flat[at : at + block]) for at in range(0, len(flat), block)),
        )
        rows = torch.tensor(sorted(picked), dtype=torch.int64)
        source = Source(Path(), 0, table.data_ptr(), ())
        assert torch.equal(rows_of(table, rows, source), table[rows])


@on_linux
def test_rows_digest_and_copy_leave_no_page_of_the_table_resident(tmp_path: Path) -> None:
    lying, _ = mapped_table(tmp_path / "t.safetensors", rows=1 << 14, width=1024)
    size = lying.numel() * 4  # 64 MB
    before = resident_of_files()
    table = RowsInUse(lying, range(0, 1 << 14, 3), padding_idx=None)
    encoder = torch.nn.ModuleDict({"words": table})
    source_digest(encoder)  # type: ignore[arg-type]
    copy = table.full_table()
    assert resident_of_files() - before < size / 4
    assert torch.equal(copy, lying)
    assert resident_of_files() - before > size / 2  # as reading it does


@pytest.mark.usefixtures("small")
def test_digests_are_those_of_the_bytes(tmp_path: Path) -> None:
    lying, table = mapped_table(tmp_path / "t.safetensors")
    encoder: Any = torch.nn.ModuleDict({"words": RowsInUse(lying, [1, 2], padding_idx=None)})
    frozen = torch.nn.Parameter(torch.tensor(2.5), requires_grad=False)
    encoder.register_parameter("frozen", frozen)
    expected = hashlib.sha256()
    for name, value in (("frozen", frozen.detach()), ("words", table)):
        expected.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        expected.update(value.numpy().tobytes())
    assert source_digest(encoder) == expected.hexdigest()


def test_in_evaluation_only_pieces_not_in_use_are_looked_up_in_the_table() -> None:
    embedding = RowsInUse(torch.randn(50, 4), [2, 7, 9], padding_idx=None).eval()
    ids = torch.tensor([[2, 7, 40], [9, 9, 2]])
    expected = embedding(ids)
    embedding.table_VD[[7, 9]] = float("nan")  # the first row in use stands in for all of them
    assert torch.equal(embedding(ids), expected)


# Tokenizers ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokenizers are packed though they are small."""
    monkeypatch.setattr(vocabulary, "_WORTH_PACKING", 0)


TEXTS = ["help flood water", "CASA casa", "the road is closed, 17 ✗", ""]


def tokens(tokenizer: Any) -> list[list[int]]:
    return [tokenizer(text)["input_ids"] for text in TEXTS]


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize("kind", ["whole", "cut", "lower"])
def test_a_released_tokenizer_comes_back_the_same_without_its_folder(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "encoder"
    encoder: TransformerEncoder
    if kind == "lower":
        encoder = SentenceEncoder(str(sentence_folder(folder, lower=True)))
    else:
        encoder = TransformerEncoder(str(tiny_encoder(folder)), keep_pieces=30 if kind == "cut" else None)
    tokenizer = encoder.tokenizer
    rules, expected, kept = tokenizer.backend_tokenizer.to_str(), tokens(tokenizer), encoder._kept
    assert (kept is not None) == (kind == "cut")
    reference = weakref.ref(tokenizer)
    del tokenizer
    assert encoder.release_tokenizer()
    assert not encoder.release_tokenizer()  # of nothing
    gc.collect()
    assert reference() is None
    assert encoder._tokenizer is None
    shutil.rmtree(folder)
    again = encoder.tokenizer
    assert again is encoder.tokenizer
    assert (again.backend_tokenizer.to_str(), tokens(again), encoder._kept) == (rules, expected, kept)
    assert again.all_special_ids == [0, 2, 3, 1, *again.all_special_ids[4:]]
    assert (again.pad_token_id, again.model_max_length, again.padding_side) == (1, 64, "right")


def test_a_small_tokenizer_stays_and_nothing_is_collected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Collecting takes longer than the tests' fits."""
    monkeypatch.setattr(stepping.heap, "give_back", lambda: pytest.fail("nothing was let go"))
    tiny_encoder(tmp_path / "encoder")
    model = tiny_classifier(tmp_path / "encoder")
    tokenizer = model.tokenizer
    quiet_trainer(tmp_path, max_steps=1).fit(model, datamodule=tiny_data(tmp_path / "m.parquet"))
    assert model.tokenizer is tokenizer


@pytest.mark.usefixtures("any_size")
def test_a_tokenizer_that_cannot_be_packed_stays(tmp_path: Path) -> None:
    encoder = TransformerEncoder(str(tiny_encoder(tmp_path)))
    tokenizer = encoder.tokenizer
    tokenizer.backend_tokenizer.pre_tokenizer = PreTokenizer.custom(Whitespace())  # type: ignore[arg-type]
    assert not encoder.release_tokenizer()
    assert encoder.tokenizer is tokenizer


class Watched(Callback):
    """Notes at each step whether the encoder holds a tokenizer, and which encoders live."""

    def __init__(self) -> None:
        self.held: list[bool] = []
        self.teachers: list[weakref.ref[Any]] = []
        self.living: list[bool] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.held.append(pl_module.encoder._tokenizer is not None)
        if self.teachers:
            gc.collect()
        self.living += [reference() is not None for reference in self.teachers]


@pytest.mark.usefixtures("any_size")
def test_a_classifier_steps_and_validates_without_its_tokenizer(tmp_path: Path) -> None:
    tiny_encoder(tmp_path / "encoder")
    model, watched = tiny_classifier(tmp_path / "encoder"), Watched()
    quiet_trainer(tmp_path, max_epochs=2, callbacks=[watched]).fit(
        model, datamodule=tiny_data(tmp_path / "m.parquet")
    )
    assert len(watched.held) > 2
    assert not any(watched.held)
    assert model.scores["validation"] is not None
    fresh = TransformerEncoder(str(tmp_path / "encoder")).tokenizer
    assert tokens(model.tokenizer) == tokens(fresh)


@pytest.mark.usefixtures("any_size")
def test_a_distillers_teacher_is_gone_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched, load = Watched(), Teacher.load

    def noted(self: Teacher, device: Any = "cpu") -> LoadedTeacher:
        loaded = load(self, device)
        watched.teachers += [weakref.ref(loaded.encoder), weakref.ref(loaded.encoder.tokenizer)]
        watched.teachers += [weakref.ref(parameter) for parameter in loaded.encoder.parameters()]
        return loaded

    monkeypatch.setattr(Teacher, "load", noted)
    model = tiny_distiller(tmp_path)
    _ = model.teacher.encoder.tokenizer  # as a SentenceEncoder without a length asks for it
    quiet_trainer(tmp_path, max_steps=2, callbacks=[watched]).fit(model, datamodule=MemoryPairs())
    assert len(watched.teachers) > 10
    assert watched.living
    assert not any(watched.living)
    assert model.teacher.encoder._tokenizer is None


def test_giving_memory_back_harms_nothing() -> None:
    held = [torch.full((1000,), float(number)) for number in range(50)]
    del held[::2]
    give_back()
    assert [float(tensor.sum()) for tensor in held] == [1000.0 * number for number in range(1, 50, 2)]


# Gradients of rows in use --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("padding_idx", [None, 1, 40])
def test_sparse_gradients_add_up_to_the_dense_ones_to_the_bit(
    dtype: torch.dtype, padding_idx: int | None
) -> None:
    torch.manual_seed(0)
    table = torch.randn(60, 8).to(dtype)
    sparse, dense = (RowsInUse(table, range(0, 50), padding_idx) for _ in range(2))
    sparse.sparse_gradient = True
    reference = torch.nn.Parameter(table[:50].clone())
    for count in (1, 7, 200, 3):  # passes, as of one step
        ids = torch.randint(0, 12, (3, count))
        factor = torch.randn(3, count, 8).to(dtype)
        for weight, found in (
            (sparse.weight, sparse(ids)),
            (dense.weight, dense(ids)),
            (reference, F.embedding(ids, reference, padding_idx)),
        ):
            assert torch.equal(found, table[ids])
            (found * factor).sum().backward()
            assert weight.grad is not None
    assert sparse.weight.grad is not None
    assert sparse.weight.grad.is_sparse
    assert sparse.weight.grad._nnz() <= 12
    sparse.dense_gradient()
    sparse.dense_gradient()  # is dense by now
    assert torch.equal(sparse.weight.grad, dense.weight.grad)  # type: ignore[arg-type]
    assert torch.equal(sparse.weight.grad, reference.grad)  # type: ignore[arg-type]
    assert sparse.weight.grad.count_nonzero() > 60


@pytest.mark.parametrize("tokens_per_pass", [40, 100_000])
def test_a_fit_with_small_gradients_is_one_without_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tokens_per_pass: int
) -> None:
    met: list[bool] = []
    whole = RowsInUse.dense_gradient

    def noted(self: RowsInUse) -> None:
        met.append(self.weight.grad is not None and self.weight.grad.is_sparse)
        whole(self)

    monkeypatch.setattr(RowsInUse, "dense_gradient", noted)
    states = []
    tiny_encoder(tmp_path / "encoder")
    for sparse in (True, False):
        if not sparse:
            monkeypatch.setattr(StepsByHand, "_tables_in_use", lambda self: [])
            monkeypatch.setattr(stepping, "put_side_by_side", lambda parameters: None)
        torch.manual_seed(1)
        model = tiny_classifier(tmp_path / "encoder")
        quiet_trainer(tmp_path, max_steps=5, max_epochs=-1).fit(
            model, datamodule=tiny_data(tmp_path / "m.parquet", tokens_per_pass=tokens_per_pass)
        )
        states.append(model.state_dict())
        assert len(met) == 5
        assert all(met)
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_gradients_side_by_side_keep_their_values_and_take_more() -> None:
    torch.manual_seed(0)
    shapes = [(3, 4), (5,), (2, 2, 2), (7,)]
    parameters = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
    parameters += [torch.nn.Parameter(torch.randn(6, dtype=torch.float64)), torch.nn.Parameter(torch.ones(2))]
    loss = sum((p * p * p).sum() for p in parameters[:-1])
    loss.backward()
    before = [p.grad.clone() for p in parameters[:-1] if p.grad is not None]
    put_side_by_side(parameters)
    assert parameters[-1].grad is None  # what has none gets none
    after = [p.grad for p in parameters[:-1] if p.grad is not None]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert len({gradient.untyped_storage().data_ptr() for gradient in after}) == 2  # one block of each type
    sum((p * p).sum() for p in parameters[:-1]).backward()
    for parameter, gradient, place in zip(parameters, before, after, strict=False):
        assert torch.equal(place, gradient + 2 * parameter.detach())  # added where it lies


def test_gradients_that_lie_otherwise_stay_where_they_are() -> None:
    """A fused optimiser reads weight and gradient side by side."""
    states = []
    for moved in (True, False):
        torch.manual_seed(0)
        weight = torch.nn.Parameter(torch.randn(6, 4).t())
        other = torch.nn.Parameter(torch.randn(3))
        optimizer = torch.optim.AdamW([weight, other], lr=0.1, fused=True)
        for _ in range(2):
            ((weight**3).sum() + other.sum()).backward()
            if moved:
                put_side_by_side([weight, other])
            optimizer.step()
            optimizer.zero_grad()
        states.append((weight.detach().clone(), other.detach().clone()))
    assert torch.equal(states[0][0], states[1][0])
    assert torch.equal(states[0][1], states[1][1])


@pytest.mark.parametrize("options", [{"strategy": "ddp", "devices": 1}, {"precision": "16-true"}])
def test_fits_that_cannot_have_sparse_gradients_run_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    for name in ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "NODE_RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)  # and put back what Lightning sets
    tiny_encoder(tmp_path / "encoder")
    model = tiny_classifier(tmp_path / "encoder")
    try:
        quiet_trainer(tmp_path, max_steps=2, **options).fit(
            model, datamodule=tiny_data(tmp_path / "m.parquet", tokens_per_pass=40)
        )
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    assert model.global_step == 2


def test_after_a_fit_the_model_is_any_torch_module(tmp_path: Path) -> None:
    tiny_encoder(tmp_path / "encoder")
    model = tiny_classifier(tmp_path / "encoder")
    quiet_trainer(tmp_path, max_steps=1).fit(model, datamodule=tiny_data(tmp_path / "m.parquet"))
    model.train()
    ids = model.encoder.model.get_input_embeddings().piece_ids[:6].view(1, 6)
    optimizer = torch.optim.AdamW(model.parameters())
    model.encoder(ids, torch.ones_like(ids)).sum().backward()
    optimizer.step()
