"""From the SQL of the models to that of DuckDB and of Spark: sqlglot, and here what it does not know of DataFusion.

Nothing is left out or rewritten by hand: every model of the warehouse is translated by these rules. Where results would
differ:

- DataFusion cuts quotients of decimals off, Spark rounds them, DuckDB divides as doubles: `cut` makes them the same.
- Spark takes formats of dates by letters of its own and has none for weeks: FORMATS lists those of the models.
"""

from collections.abc import Callable
from decimal import Decimal

from sqlglot import exp

# Decimals of money: the models divide whole minor units by 1 to 10000 for them, which is exact in every engine, up to
# 2^53 units.
MONEY_SCALE = 4

# strftime's formats in Spark; a text is one of `date_format`.
FORMATS: dict[str, str | Callable[[exp.Expression], exp.Expression]] = {
    "%Y%m%d": "yyyyMMdd",
    "%Y-%m": "yyyy-MM",
    "%A": "EEEE",
    "%B": "MMMM",
    "%u": lambda day: call("cast_text", exp.Add(this=call("weekday", day), expression=exp.Literal.number(1))),
    "%V": lambda day: call("cast_text", call("weekofyear", day)),
    "%G": lambda day: call("cast_text", exp.Extract(this=exp.var("yearofweek"), expression=day)),
}


def call(name: str, *arguments: exp.Expression) -> exp.Expression:
    if name == "cast_text":
        return exp.cast(arguments[0], "text")
    return exp.Anonymous(this=name, expressions=[argument.copy() for argument in arguments])


def to(dialect: str, query: exp.Expression) -> str:
    """The query in `dialect`, `duckdb` or `spark`, over tables named `zone_name`."""
    rules = [functions, DIALECTS[dialect], names]
    query = query.copy()
    for rule in rules:
        query = query.transform(rule, copy=False)
    return query.sql(dialect=dialect, comments=False)


def names(node: exp.Expression) -> exp.Expression:
    """`zone.name` as `zone_name`."""
    if isinstance(node, exp.Table) and node.db:
        node.set("this", exp.to_identifier(f"{node.db}_{node.name}"))
        node.set("db", None)
    return node


def functions(node: exp.Expression) -> exp.Expression:
    """DataFusion's own functions."""
    if isinstance(node, exp.Anonymous):
        match node.name.lower():
            case "arrow_cast":
                return exp.cast(node.expressions[0], "timestamptz")
            case "cardinality":
                return exp.ArraySize(this=node.expressions[0])
            case "date_part":
                return exp.Extract(this=exp.var(node.expressions[0].name), expression=node.expressions[1])
    if isinstance(node, exp.Cast) and isinstance(node.this, exp.Div) and node.to.expressions:
        scale = int(node.to.expressions[1].name)
        return cut(node, scale) if scale > MONEY_SCALE else node
    return node


def cut(quotient: exp.Cast, scale: int) -> exp.Expression:
    """The cast of a quotient of decimals above zero, less one of its last decimal where it was rounded up."""
    step = exp.Literal.number(f"{Decimal(1).scaleb(-scale):f}")
    product = exp.Mul(this=quotient.copy(), expression=quotient.this.expression.copy())
    is_above = exp.GT(this=product, expression=quotient.this.this.copy())
    less = exp.Sub(this=quotient.copy(), expression=step)
    return exp.cast(exp.Case().when(is_above, less).else_(quotient.copy()), quotient.to)


def duckdb(node: exp.Expression) -> exp.Expression:
    if isinstance(node, exp.ToChar):
        return call("strftime", node.this, node.args["format"])
    if isinstance(node, exp.FirstValue) and not in_window(node):
        return call("first", node.this)
    # A series of days is one of times there.
    if isinstance(node, exp.Explode) and isinstance(node.this, exp.GenerateSeries) and not isinstance(node.parent, exp.Cast):
        return exp.cast(node.copy(), "date")
    if isinstance(node, exp.Anonymous) and node.name == "row_as_json":
        return call("to_json", *node.expressions)
    return node


def spark(node: exp.Expression) -> exp.Expression:
    if isinstance(node, exp.Select):
        for join in node.args.get("joins") or []:
            # Spark knows semi joins of the left side alone: the sides change places.
            if join.side == "RIGHT" and join.kind == "SEMI":
                first = node.find(exp.From)
                left, right = first.this, join.this
                first.set("this", right)
                join.set("this", left)
                join.set("side", "LEFT")
    if isinstance(node, exp.ToChar):
        form = FORMATS[node.args["format"].name]
        if isinstance(form, str):
            return call("date_format", node.this, exp.Literal.string(form))
        return form(node.this)
    # Leaves nulls out, as DataFusion's `concat` does.
    if isinstance(node, exp.Concat):
        return call("concat_ws", exp.Literal.string(""), *node.expressions)
    if isinstance(node, exp.FirstValue) and not in_window(node):
        value, order = node.this.this, node.this.expressions
        # Numbers that go down are those that go up with the sign turned.
        keys = [exp.Neg(this=key.this.copy()) if key.args.get("desc") else key.this for key in order]
        return call("min_by", value, call("struct", *keys))
    if isinstance(node, exp.Anonymous) and node.name == "row_as_json":
        return call("to_json", call("struct", exp.Column(this=exp.Star(), table=exp.to_identifier(node.expressions[0].name))))
    return node


def in_window(node: exp.Expression) -> bool:
    parent = node.parent
    while isinstance(parent, (exp.Filter, exp.IgnoreNulls, exp.RespectNulls)):
        parent = parent.parent
    return isinstance(parent, exp.Window)


DIALECTS = {"duckdb": duckdb, "spark": spark}
