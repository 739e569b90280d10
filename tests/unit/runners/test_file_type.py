"""What `file-type` takes."""

from __future__ import annotations

import msgspec
import pytest

from neurogrid.core.errors import Invalid
from neurogrid.nodes.catalog import Catalog, NodeModels
from neurogrid.runners.file_type import FileType


@pytest.mark.parametrize("wrong", ["?", "YQ", "YQ=", "YQ==YQ==", "Y Q=", "YQ==\n", "é"])
def test_what_is_no_base64_is_refused_at_submission(wrong: str) -> None:
    """The schema says so already: nothing is queued, and the field is named; what is base64 passes."""
    spec = FileType().spec
    catalog = Catalog()
    catalog.replace([NodeModels("node", 0, msgspec.json.encode([spec]).decode())])
    model = catalog.find("file-type")
    assert model is not None
    for right in ("", "YQ==", "YWI=", "YWJj", "+/+/"):
        model.validate({"base64": right}, {})
    with pytest.raises(Invalid) as refused:
        model.validate({"base64": wrong}, {})
    assert [error.field for error in refused.value.errors] == ["input.base64"]
