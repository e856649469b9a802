"""The three parts of a document hold together in every report, and reports and formats know nothing of each other."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pytest
from profiles import BUILDERS, normal
from test_reports import MODELS
from test_reports_diff import PAIRS

import fxprof.reports.formats
from fxprof.compare.profiles import compare_profiles
from fxprof.reports import FORMATS, Document
from fxprof.reports.cache import build_cache
from fxprof.reports.cells import Params, Share
from fxprof.reports.diff import build_diff
from fxprof.reports.document import Column, Note, Overview, Row, Section, Table
from fxprof.reports.hotspots import build_hotspots
from fxprof.reports.layers import build_layers
from fxprof.reports.models import build_models
from fxprof.reports.rows import Field, Rows
from fxprof.reports.summary import build_summary
from fxprof.result import Profile, Total
from fxprof.result.views import GROUPINGS


def of_profile(build: Callable[[Profile], Document], make: Callable[[], Profile]) -> Callable[[], Document]:
    return lambda: build(make())


def of_pair(make: Callable[[], tuple[Profile, Profile]]) -> Callable[[], Document]:
    return lambda: build_diff(compare_profiles(*make()), ops=True)


DOCUMENTS: Mapping[str, Callable[[], Document]] = {
    **{f"profile of {name}": of_profile(build_summary, make) for name, make in BUILDERS.items()},
    **{f"layers of {name}": of_profile(partial(build_layers, depth=None), make) for name, make in BUILDERS.items()},
    **{f"hotspots of {name}": of_profile(partial(build_hotspots, limit=2), make) for name, make in BUILDERS.items()},
    **{f"hotspots by {by}": of_profile(partial(build_hotspots, by=by), normal) for by in GROUPINGS},
    **{f"diff of {name}": of_pair(make) for name, make in PAIRS.items()},
    "models": lambda: build_models(MODELS),
    "cache": lambda: build_cache("/x", 10**6, [], 1),
}
"""Every report, of all sorts of profiles."""


@pytest.fixture(params=DOCUMENTS)
def document(request: pytest.FixtureRequest) -> Document:
    return DOCUMENTS[request.param]()


def test_a_row_for_people_has_a_cell_for_each_column(document: Document) -> None:
    for table in (table for section in document.sections for table in section.tables):
        assert all(column.title for column in table.columns)
        assert {len(row.cells) for row in table.rows} <= {len(table.columns)}
        assert len(table.last) in {0, len(table.columns)}


def test_a_row_for_programs_has_a_value_for_each_field_and_numbers_have_units(document: Document) -> None:
    fields, values = document.rows.fields, document.rows.values
    names = [field.name for field in fields]
    assert len(names) == len(set(names))
    assert {len(row) for row in values} <= {len(fields)}
    for row in values:
        for field, value in zip(fields, row, strict=True):
            if field.unit:
                assert value is None or type(value) is int, field
            elif field.name != "rank":
                assert value is None or isinstance(value, str), field


def test_a_column_of_the_same_name_has_the_same_unit_in_every_report() -> None:
    units: dict[str, set[str]] = {}
    for build in DOCUMENTS.values():
        for field in build().rows.fields:
            units.setdefault(field.name, set()).add(field.unit)
    assert units.pop("count") == {"calls", "executions"}  # of modules, or of operators
    assert {name: found for name, found in units.items() if len(found) > 1} == {}


def test_every_file_of_a_format_is_in_the_table() -> None:
    folder = Path(fxprof.reports.formats.__file__).parent
    assert {path.stem for path in folder.glob("*.py")} - {"__init__"} == set(FORMATS)


SHARES = Table(
    (Column("component", words=True), Column("params"), Column("share")),
    (Row(("a", Params(2), Share(1, 4))),),
)
NEW = Document(
    Overview("net", (("device", "fast"),), {"target": "net", "bytes": 12}, ("a remark",)),
    (
        Section("bytes by component", (SHARES,), ("per run: 12 bytes",), (Note("remarks", ("a remark",)),)),
        Section("more", (Table((Column("MACs"),), (Row((Total(5),)),), unit="flop"),), folds=True),
        Section("words alone", lines=("one line",)),
    ),
    Rows((Field("component"), Field("bytes", "bytes")), (("a", 12), ("=b", None))),
)
"""The document of a report that does not exist yet."""

EXPECTED = {
    "text": """\
net
device  fast

bytes by component
component  params  share
---------  ------  -----
a               2  25.0%

per run: 12 bytes

remarks:
  a remark

more
MACs
----
  10

words alone
one line
""",
    "markdown": """\
## net

- device: fast

### bytes by component

| component | params | share |
| --- | ---: | ---: |
| a | 2 | 25.0% |

per run: 12 bytes

**remarks**

- a remark

<details><summary>more</summary>

| MACs |
| ---: |
| 10 |

</details>

### words alone

one line
""",
    "csv": "component,bytes,remarks\na,12,a remark\n'=b,,\n",
}


@pytest.mark.parametrize("form", EXPECTED)
def test_a_new_report_is_written_in_every_format(form: str) -> None:
    assert FORMATS[form].render(NEW) == EXPECTED[form]


def test_a_new_report_is_an_object_of_its_values_and_rows() -> None:
    rows = [{"component": "a", "bytes": 12}, {"component": "=b", "bytes": None}]
    assert json.loads(FORMATS["json"].render(NEW)) == {"target": "net", "bytes": 12, "rows": rows}


def test_a_document_without_parts_is_empty() -> None:
    assert {form: FORMATS[form].render(Document()).strip() for form in EXPECTED} == dict.fromkeys(EXPECTED, "")
