"""The bounds in the document are those in the code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from fxprof import limits

ROOT = Path(__file__).parents[1]
ROW = re.compile(r"^\| `(?P<name>[A-Z_]+)` \| (?P<value>[^|]+) \| (?P<words>[^|]+) \|$", re.MULTILINE)


def shown(name: str, value: int) -> str:
    """A bound with its unit."""
    if name.endswith("_SECONDS"):
        return f"{value} s"
    if not name.endswith("_BYTES"):
        return f"{value:,}"
    power = next(power for power in (40, 30, 20, 10, 0) if value % 2**power == 0 and value >= 2**power)
    return f"{value >> power} {dict(zip((40, 30, 20, 10, 0), ('TiB', 'GiB', 'MiB', 'KiB', 'B'), strict=True))[power]}"


def bounds() -> list[tuple[str, str, str]]:
    """Name, value and words of each bound in the code; each has a docstring."""
    body = ast.parse((ROOT / "fxprof" / "limits.py").read_text(encoding="utf-8")).body
    names = [(at, name) for at, node in enumerate(body) if (name := _name(node))]
    words = [body[at + 1] for at, _ in names]
    assert all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in words)
    texts = [" ".join(ast.literal_eval(node.value).split()) for node in words if isinstance(node, ast.Expr)]
    return [(name, shown(name, getattr(limits, name)), text) for (_, name), text in zip(names, texts, strict=True)]


def _name(node: ast.stmt) -> str:
    """The bound that a statement sets; "" for any other statement."""
    target = node.targets[0] if isinstance(node, ast.Assign) else None
    return target.id if isinstance(target, ast.Name) and target.id.isupper() else ""


def test_the_table_in_the_document_is_the_table_in_the_code() -> None:
    document = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    rows = [(match["name"], match["value"], match["words"]) for match in ROW.finditer(document)]
    assert rows == bounds(), "\n".join(f"| `{name}` | {value} | {words} |" for name, value, words in bounds())


def test_bounds_are_written_with_their_unit() -> None:
    assert shown("HUB_SECONDS", 60) == "60 s"
    assert shown("X_BYTES", 64 * 2**20) == "64 MiB"
    assert shown("X_BYTES", 2**40) == "1 TiB"
    assert shown("HUB_FILES", 10_000) == "10,000"
