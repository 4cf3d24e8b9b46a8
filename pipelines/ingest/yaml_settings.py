"""Settings of an ingest as YAML: the fields of :class:`IngestSettings`, and what is ingested into which archive.

pydantic checks names and types by the dataclasses themselves, so that a new setting is one here, too. What is left
out keeps its default; values that are impossible only together are found when the settings are made.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import types
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic_core import ErrorDetails

from pipelines.ingest.settings import IngestSettings
from videox2l.errors import ConfigError
from videox2l.paths import expanded

ARCHIVE = "archive"
SOURCES = "sources"


def read_settings(path: str | Path) -> dict[str, Any]:
    """The settings that the file holds, nested as there; with ``sources`` (a list) and ``archive`` where it names them.

    :raises ConfigError: no such file, not YAML, an unknown name, or a value of the wrong type.
    """
    try:
        text = expanded(path).read_text(encoding="utf-8-sig")
        found = yaml.load(text, _Loader)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the settings {path} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ConfigError(f"{path} must hold settings by their names, such as `prefill_actors: 4`")
    if isinstance(found.get(SOURCES), str):
        found[SOURCES] = [found[SOURCES]]
    try:
        checked = _file_model().model_validate(found)
    except ValidationError as error:
        problems: defaultdict[str, list[str]] = defaultdict(list)
        for details in error.errors():
            name, problem = _problem(details, found)
            problems[name].append(problem)
        lines = [f"{path}: {name}: {', or '.join(reasons)}" for name, reasons in problems.items()]
        raise ConfigError("\n".join(lines)) from error
    return checked.model_dump(exclude_unset=True)


def write_settings(settings: IngestSettings, sources: Sequence[str], archive: str) -> str:
    """YAML that :func:`read_settings` takes."""
    document = {SOURCES: list(sources), ARCHIVE: archive, **settings.to_dict()}
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True)


class _Loader(yaml.SafeLoader):
    """Times stay the text that they are; a name that occurs twice is an error, not the last one's."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        names: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in names:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is there twice", key.start_mark)
            names.add(key.value if isinstance(key, yaml.ScalarNode) else "")
        return super().construct_mapping(node, deep=deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@functools.cache
def _file_model() -> type[BaseModel]:
    return _model_of(IngestSettings, **{SOURCES: list[str], ARCHIVE: str})


def _model_of(kind: type, **more: Any) -> type[BaseModel]:
    """A pydantic model with the fields of a dataclass. It takes nothing else, and no value of another type."""
    hints = get_type_hints(kind)
    fields: dict[str, Any] = {field.name: (_hint(hints[field.name]), None) for field in dataclasses.fields(kind)}
    fields |= {name: (hint, None) for name, hint in more.items()}
    config = ConfigDict(extra="forbid", strict=True, protected_namespaces=(), allow_inf_nan=False)
    return create_model(kind.__name__, __config__=config, **fields)


def _hint(hint: Any) -> Any:
    """``hint``, with dataclasses replaced by their models."""
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _model_of(hint)
    if get_origin(hint) in (Union, types.UnionType):
        return Union[tuple(_hint(part) for part in get_args(hint))]  # noqa: UP007 -- of parts known only here
    return hint


def _problem(details: ErrorDetails, found: Mapping[Any, Any]) -> tuple[str, str]:
    """The name of a setting as a dotted path, and what is wrong with it."""
    path: list[str] = []
    inside: Any = found
    for part in details["loc"]:  # also names the alternatives of a type, which nobody has written
        if isinstance(inside, Mapping) and part in inside:
            path.append(str(part))
            inside = inside[part]
    name = ".".join(path)
    if details["type"] != "extra_forbidden":
        message = details["msg"]
        return name, f"{message[:1].lower()}{message[1:]}, got {details['input']!r}"
    known = _known_names(path[:-1])
    nearest = difflib.get_close_matches(path[-1], known, n=1)
    return name, f"no such setting; {f'did you mean {nearest[0]}?' if nearest else 'known: ' + ', '.join(known)}"


def _known_names(path: Sequence[str]) -> list[str]:
    model: Any = _file_model()
    for part in path:
        hint = model.model_fields[part].annotation
        model = next(kind for kind in (hint, *get_args(hint)) if isinstance(kind, type) and issubclass(kind, BaseModel))
    return list(model.model_fields)
