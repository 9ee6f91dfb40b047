"""Components as JSON values: describing, digesting and rebuilding them."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import inspect
import json
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar, get_args, get_type_hints

from longmab_pl.errors import DataError
from longmab_pl.exports import find_class, public_name
from longmab_pl.shown import quoted

T = TypeVar("T")


def describe(component: Any) -> Any:
    """Return a component's settings as JSON values with its public name, for fingerprints.

    Settings with their default value are left out, so that a new option changes no fingerprint. If a default or a
    prompt's wording changes, `rollout.round_folder.FORMAT` must therefore be raised.

    Args:
        component: a JSON value, a dataclass, an object with a method `describe`, or lists and dicts of them.

    Example:
        >>> describe(BestWorst(min_margin=0.5))
        {'class': 'longmab_pl.pairs.BestWorst', 'min_margin': 0.5}
    """
    if dataclasses.is_dataclass(component) and not isinstance(component, type):
        values = {f.name: getattr(component, f.name) for f in dataclasses.fields(component)}
        return {"class": public_name(type(component)), **_without_defaults(type(component), values)}
    if hasattr(component, "describe"):
        return {"class": public_name(type(component)), **_without_defaults(type(component), component.describe())}
    if isinstance(component, dict):
        return {str(k): describe(v) for k, v in component.items()}
    if isinstance(component, list | tuple):
        return [describe(v) for v in component]
    if isinstance(component, str | int | float | bool) or component is None:
        return component
    return repr(component)


def rebuild(described: Any, kind: type[T]) -> T:
    """Return the component that `describe` described.

    Args:
        described: a description from a run's file; its classes are looked up by `find_class`, never imported.
        kind: required class or protocol of the result, which must be a dataclass.

    Raises:
        DataError: it does not name a public class of that kind, or has settings that the class does not have.
    """
    if not isinstance(described, dict) or not isinstance(described.get("class"), str):
        raise DataError(f"the file describes no {kind.__name__}: {quoted(described)}")
    cls = find_class(described["class"], kind)
    if not dataclasses.is_dataclass(cls):
        raise DataError(f"{public_name(cls)} cannot be made from a file: it is no dataclass")
    declared = _declared_kinds(cls)
    settings = {name: _rebuilt(value, declared.get(name, ())) for name, value in described.items() if name != "class"}
    try:
        component = cls(**settings)
    except (TypeError, ValueError, AttributeError) as error:
        raise DataError(f"cannot make the file's {cls.__name__} again: {quoted(str(error), 300)}") from error
    if not isinstance(component, kind):
        raise DataError(f"{public_name(cls)} is not a {kind.__name__}")
    return component


def digest(value: Any) -> str:
    """Return 16 hexadecimal digits that are the same for equal JSON values only."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _without_defaults(cls: type, values: dict[str, Any]) -> dict[str, Any]:
    defaults = _defaults(cls)
    described = {name: describe(value) for name, value in values.items()}
    return {name: v for name, v in described.items() if name not in defaults or describe(defaults[name]) != v}


def _defaults(cls: type) -> dict[str, Any]:
    if dataclasses.is_dataclass(cls):
        made = {
            f.name: f.default_factory() for f in dataclasses.fields(cls) if f.default_factory is not dataclasses.MISSING
        }
        return made | {f.name: f.default for f in dataclasses.fields(cls) if f.default is not dataclasses.MISSING}
    parameters = inspect.signature(cls).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}


def _rebuilt(value: Any, kinds: Sequence[type]) -> Any:
    """Return a setting's value, with the dataclasses in it rebuilt, which are of the kinds that the setting declares.

    Another class, though public, may import what its own settings name.
    """
    if isinstance(value, list):
        return [_rebuilt(inner, kinds) for inner in value]
    if not isinstance(value, dict):
        return value
    if "class" not in value:
        return {name: _rebuilt(inner, kinds) for name, inner in value.items()}
    for kind in kinds[:-1]:
        with contextlib.suppress(DataError):
            return rebuild(value, kind)
    if not kinds:
        raise DataError(f"the file names a class where none belongs: {quoted(value)}")
    return rebuild(value, kinds[-1])


def _declared_kinds(cls: type) -> dict[str, list[type]]:
    """Return the package's classes and protocols in the annotation of each setting of a class."""
    return {name: list(_classes_in(annotation)) for name, annotation in get_type_hints(cls).items()}


def _classes_in(annotation: Any) -> Iterator[type]:
    for part in get_args(annotation):
        yield from _classes_in(part)
    if isinstance(annotation, type) and annotation.__module__.startswith("longmab_pl."):
        yield annotation
