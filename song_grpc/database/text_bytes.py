"""The length of a text in bytes, which PostgreSQL and SQLite before 3.43 spell differently."""

from typing import Any

from sqlalchemy import Integer
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class text_bytes(FunctionElement[int]):  # noqa: N801 - used as a function of SQL
    """Bytes that a text takes in UTF-8."""

    type = Integer()
    inherit_cache = True


@compiles(text_bytes)
def _standard(element: text_bytes, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401 - the compiler's
    return f"octet_length({compiler.process(element.clauses, **options)})"


@compiles(text_bytes, "sqlite")
def _sqlite(element: text_bytes, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401 - the compiler's
    return f"length(CAST({compiler.process(element.clauses, **options)} AS BLOB))"
