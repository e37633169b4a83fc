"""The labels that a PromQL expression returns, and whether the labels that it uses exist."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import promql_parser as promql

Labels = frozenset[str]
NONE: Labels = frozenset()
TARGET: Labels = frozenset({"job", "instance"})
"""Given to every series by Prometheus itself."""


def given(expr: str, known: Callable[[str], Labels]) -> Labels:
    """The labels of what `expr` gives. `known` tells those of a metric; AssertionError when a label
    is used that is not there."""
    return _Reader(known).read(promql.parse(expr))


def metrics(expr: str) -> set[str]:
    """The names of the metrics that `expr` asks for."""
    names: set[str] = set()

    def note(name: str) -> Labels:
        names.add(name)
        return NONE

    _Reader(note, strict=False).read(promql.parse(expr))
    return names


class _Reader:
    def __init__(self, known: Callable[[str], Labels], *, strict: bool = True) -> None:
        self._known = known
        self._strict = strict

    def read(self, node: Any) -> Labels:
        found: Labels = getattr(self, f"_{type(node).__name__}")(node)
        return found

    def _needs(self, used: set[str], there: Labels) -> None:
        assert not self._strict or used <= there, f"{sorted(used - there)} not in {sorted(there)}"

    def _VectorSelector(self, node: Any) -> Labels:  # noqa: N802 - the parser's own names
        there = self._known(node.name) | TARGET
        self._needs({each.name for each in node.matchers.matchers}, there)
        return there

    def _MatrixSelector(self, node: Any) -> Labels:  # noqa: N802
        return self.read(node.vector_selector)

    def _Call(self, node: Any) -> Labels:  # noqa: N802
        labels = NONE.union(*(self.read(each) for each in node.args))
        if node.func.name == "label_replace":
            self._needs({node.args[3].val}, labels)
            return labels | {node.args[1].val}
        if node.func.name == "histogram_quantile":
            self._needs({"le"}, labels)
            return labels - {"le"}
        return labels

    def _AggregateExpr(self, node: Any) -> Labels:  # noqa: N802
        there = self.read(node.expr)
        if str(node.op) in {"topk", "bottomk"}:
            return there
        if node.modifier is None:
            return NONE
        used = set(node.modifier.labels)
        self._needs(used, there)
        by = node.modifier.type == promql.AggModifierType.By
        return frozenset(used) if by else there - used

    def _BinaryExpr(self, node: Any) -> Labels:  # noqa: N802
        left, right = self.read(node.lhs), self.read(node.rhs)
        modifier = node.modifier
        if modifier is not None and modifier.matching is not None:
            used = set(modifier.matching.labels)
            self._needs(used, left)
            self._needs(used, right)
            more = set(modifier.group_labels or ())
            self._needs(more, right)
            return left | more
        either = str(node.op) == "or" or not left or not right
        assert either or not self._strict or left == right, f"{left} never match {right}"
        return left | right

    def _ParenExpr(self, node: Any) -> Labels:  # noqa: N802
        return self.read(node.expr)

    _SubqueryExpr = _UnaryExpr = _ParenExpr

    def _StringLiteral(self, _: Any) -> Labels:  # noqa: N802
        return NONE

    def _NumberLiteral(self, _: Any) -> Labels:  # noqa: N802
        return NONE
