"""Prints how large the package is: `make sizes`."""

from __future__ import annotations

import ast
import statistics
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def files(folder: str) -> list[Path]:
    """The Python files below `folder`."""
    return sorted((ROOT / folder).rglob("*.py"))


def lines(path: Path) -> int:
    """Lines that are not blank."""
    return sum(bool(line.strip()) for line in path.read_text(encoding="utf-8").splitlines())


def functions(path: Path) -> list[tuple[int, str]]:
    """(lines, where) of every function, its docstring left out."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            own = (node.end_lineno or 0) - node.lineno + 1
            if ast.get_docstring(node):
                own -= (node.body[0].end_lineno or 0) - node.body[0].lineno + 1
            found.append((own, f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"))
    return found


def main() -> None:
    """Prints the table."""
    code, tests = files("bvrank"), files("tests")
    sizes = sorted(size for path in code for size in functions(path))
    lengths = [size for size, _ in sizes]
    print(f"code       {sum(map(lines, code)):6} lines in {len(code)} files")
    print(f"tests      {sum(map(lines, tests)):6} lines in {len(tests)} files")
    print(f"functions  {len(sizes):6}, median {statistics.median(lengths):g} lines, ", end="")
    print(f"90 % below {lengths[int(0.9 * len(lengths))]}, longest {lengths[-1]}")
    print("\nlongest functions")
    for size, where in sizes[:-6:-1]:
        print(f"  {size:4}  {where}")
    print("\nlongest files")
    for size, path in sorted(((lines(p), p) for p in code), reverse=True)[:5]:
        print(f"  {size:4}  {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
