"""Integer and rational arithmetic on the parameters of a topology file.

Numbers, parameters, `+ - * / // % **`, shifts, `& | ^`, comparisons, `and or not`, `x if c else y`, and the
functions below. Division `/` is exact. Python's own parser reads the text; the tree becomes closures, and
nothing is ever handed to `eval`.
"""

from __future__ import annotations

import ast
import operator
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import ceil, floor, prod

from collsched.errors import InputError
from collsched.units import exact, suggest

Number = int | Fraction
Quantity = Number | tuple[int, ...]  # a tuple is the extents of a grid, such as 4x4x4
Environment = Mapping[str, Quantity]
Evaluate = Callable[[Environment], Quantity]

MAX_LENGTH = 200
MAX_MAGNITUDE = 10**18
MAX_POWER = 64


def _divide(a: Number, b: Number) -> Number:
    return Fraction(a) / Fraction(b)


def _bounded(function: Callable[[Number, Number], Number]) -> Callable[[Number, Number], Number]:
    def apply(a: Number, b: Number) -> Number:
        if not 0 <= b <= MAX_POWER or Fraction(b).denominator != 1:
            raise InputError(
                f"power {exact(b)} is too large; allowed is a whole number from 0 to {MAX_POWER}; lower it"
            )
        if max(abs(Fraction(a).numerator), Fraction(a).denominator) > MAX_MAGNITUDE:
            raise InputError(f"a power of a number beyond {MAX_MAGNITUDE:.0e}; allowed are smaller ones; lower it")
        return function(a, b)

    return apply


_BINARY: dict[type[ast.operator], Callable[[Number, Number], Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: _divide,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _bounded(operator.pow),
    ast.LShift: _bounded(operator.lshift),
    ast.RShift: _bounded(operator.rshift),
    ast.BitXor: operator.xor,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Quantity, Quantity], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_FUNCTIONS: dict[str, Callable[..., Number]] = {
    "min": min,
    "max": max,
    "ceil": ceil,
    "floor": floor,
    "product": prod,  # of a grid's extents
}


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression; `names` are the parameters and indices that it reads."""

    text: str
    names: frozenset[str]
    _evaluate: Evaluate

    def __call__(self, environment: Environment) -> Quantity:
        """Its value. Raises InputError where a name is unknown or the arithmetic has no answer."""
        try:
            value = self._evaluate(environment)
        except ZeroDivisionError:
            raise InputError(
                f"{self.text!r} divides by 0; allowed is any other divisor; check the parameters"
            ) from None
        except (TypeError, ValueError):
            raise InputError(
                f"{self.text!r} has no value here; allowed are numbers of fitting types; check its operands"
            ) from None
        if not isinstance(value, tuple) and not -MAX_MAGNITUDE <= value <= MAX_MAGNITUDE:
            raise InputError(
                f"{self.text!r} is beyond {MAX_MAGNITUDE:.0e}; allowed are smaller numbers; check the parameters"
            )
        return value

    def number(self, environment: Environment) -> Number:
        """Its value as a number. Raises InputError for grids."""
        value = self(environment)
        if isinstance(value, tuple):
            raise InputError(
                f"{self.text!r} is the grid {'x'.join(map(str, value))}; allowed is a number; use product()"
            )
        return value

    def integer(self, environment: Environment) -> int:
        """Its value as an int. Raises InputError for grids and fractions."""
        value = self.number(environment)
        if value.denominator != 1:
            raise InputError(
                f"{self.text!r} is {exact(value)}; allowed is a whole number; divide with // or round with ceil()"
            )
        return int(value)


@lru_cache(maxsize=4096)
def parse(text: str) -> Expression:
    """Compile an expression. Raises InputError with what is wrong in it."""
    if len(text) > MAX_LENGTH:
        raise InputError(
            f"{text[:24] + '…'!r} is too long; allowed are {MAX_LENGTH} characters; name its parts under 'let'"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError, Warning):
        raise InputError(
            f"{text!r} is not arithmetic; allowed are numbers, parameters and + - * / // %; rewrite it"
        ) from None
    names = frozenset(node.id for node in ast.walk(tree) if isinstance(node, ast.Name)) - _FUNCTIONS.keys()
    return Expression(text, names, _compile(tree.body, text))


def _compile(node: ast.expr, text: str) -> Evaluate:
    match node:
        case ast.Constant(value=int(number)):
            return _constant(int(number))
        case ast.Constant(value=float()):
            return _constant(Fraction(ast.get_source_segment(text.strip(), node) or "0"))
        case ast.Name(id=name):
            return _lookup(name)
        case ast.BinOp(op=op) if type(op) in _BINARY:
            return _binary(_BINARY[type(op)], _compile(node.left, text), _compile(node.right, text))
        case ast.UnaryOp(op=ast.USub()):
            return _binary(operator.sub, _constant(0), _compile(node.operand, text))
        case ast.UnaryOp(op=ast.Not()):
            inner = _compile(node.operand, text)
            return lambda env: int(not inner(env))
        case ast.BoolOp(op=ast.And()):
            parts = [_compile(value, text) for value in node.values]
            return lambda env: int(all(part(env) for part in parts))
        case ast.BoolOp(op=ast.Or()):
            parts = [_compile(value, text) for value in node.values]
            return lambda env: int(any(part(env) for part in parts))
        case ast.Compare(ops=[op]) if type(op) in _COMPARE:
            return _comparison(_COMPARE[type(op)], _compile(node.left, text), _compile(node.comparators[0], text))
        case ast.IfExp():
            test, then, other = (_compile(part, text) for part in (node.test, node.body, node.orelse))
            return lambda env: then(env) if test(env) else other(env)
        case ast.Call(func=ast.Name(id=name), keywords=[]) if name in _FUNCTIONS:
            return _call(_FUNCTIONS[name], [_compile(argument, text) for argument in node.args])
    found = ast.get_source_segment(text.strip(), node) or text
    raise InputError(
        f"{found!r} is not understood in {text!r}; allowed are numbers, parameters, + - * / // % and "
        f"{', '.join(sorted(_FUNCTIONS))}; rewrite it"
    )


def _constant(value: Number) -> Evaluate:
    return lambda env: value


def _lookup(name: str) -> Evaluate:
    def look(environment: Environment) -> Quantity:
        try:
            return environment[name]
        except KeyError:
            known = ", ".join(sorted(environment)) or "none"
            hint = suggest(name, tuple(environment)) or "declare it under 'parameters'"
            raise InputError(f"unknown name {name!r}; allowed here are {known}; {hint}") from None

    return look


def _binary(function: Callable[[Number, Number], Number], left: Evaluate, right: Evaluate) -> Evaluate:
    def apply(environment: Environment) -> Number:
        a, b = left(environment), right(environment)
        if isinstance(a, tuple) or isinstance(b, tuple):
            raise TypeError("a grid has no arithmetic")
        return function(a, b)

    return apply


def _comparison(function: Callable[[Quantity, Quantity], bool], left: Evaluate, right: Evaluate) -> Evaluate:
    return lambda env: int(function(left(env), right(env)))


def _call(function: Callable[..., Number], arguments: list[Evaluate]) -> Evaluate:
    return lambda env: function(*(argument(env) for argument in arguments))
