"""TemplateLabelScheme: the contract of label schemes, and what it reads."""

import numpy as np
import pyarrow as pa
import pytest

from tocsin.plugins import LabelError
from tocsin.plugins.testing import check_label_scheme
from tocsin_template.label_scheme import TemplateLabelScheme

NAMES = ["water", "food"]


def test_it_conforms() -> None:
    check_label_scheme(TemplateLabelScheme, names=NAMES)


def test_listed_labels_are_on_and_a_missing_value_is_unknown() -> None:
    table = pa.table({"labels": ["food; water", "water", "none", None]})
    targets_NL = TemplateLabelScheme(NAMES).targets(table)
    unknown = [np.nan, np.nan]
    np.testing.assert_array_equal(targets_NL, [[1, 1], [1, 0], [0, 0], unknown])


def test_a_word_that_is_no_label_is_named_with_its_row() -> None:
    table = pa.table({"labels": ["water", "foood"]})
    with pytest.raises(LabelError, match=r"row 2: .* lists 'foood'.* mean 'food'"):
        TemplateLabelScheme(NAMES).targets(table)
