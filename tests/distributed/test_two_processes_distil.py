"""Two processes distil as one does: rows alone, and losses that compare the sentences of a step, which are gathered."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.builders import tiny_encoder
from tests.distributed import pairs_worker
from tests.distributed.test_two_processes import run_apart
from tests.pairs import tiny_teacher


@pytest.mark.parametrize(
    "coupled",
    [pytest.param(False, id="rows alone", marks=pytest.mark.slow), pytest.param(True, id="rows coupled")],
)
def test_two_processes_distil_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, coupled: bool) -> None:
    """Losses, weights and figures; the second process finds the vectors that the first has computed."""
    monkeypatch.setenv("TOCSIN_CACHE", str(tmp_path / "cache"))
    tiny_encoder(tmp_path / "student")
    tiny_teacher(tmp_path / "teacher")
    results = []
    for devices in (1, 2):
        out, job = tmp_path / f"out-{devices}.json", tmp_path / f"job-{devices}.json"
        given = {"folder": str(tmp_path), "devices": devices, "coupled": coupled, "out": str(out)}
        job.write_text(json.dumps(given))
        if devices > 1:
            run_apart(job, pairs_worker)
        else:
            pairs_worker.main(given)
        with np.load(out.with_suffix(".npz")) as stored:
            results.append((json.loads(out.read_text()), dict(stored)))
    (one, weights), (two, others) = results
    assert len(one["losses"]) == 10
    np.testing.assert_allclose(two["losses"], one["losses"], rtol=1e-4)
    for name, value in weights.items():
        np.testing.assert_allclose(others[name], value, rtol=2e-4, atol=2e-5, err_msg=name)
    assert [found["step"] for found in two["history"]] == [0, 5, 10]
    for mine, theirs in zip(one["history"], two["history"], strict=True):
        for name in ("matching", "mse"):
            assert mine[name].keys() == theirs[name].keys() == {"hat", "spa"}
            for lang, value in mine[name].items():
                assert theirs[name][lang] == pytest.approx(value, rel=1e-3)
