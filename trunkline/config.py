"""Reads the settings file and the environment into Settings, or says plainly what is wrong."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from trunkline.errors import Misconfigured
from trunkline.settings import SERVICE_LINK, Settings

DEFAULT_FILE = "trunkline.yaml"

_TELNYX = ("api_key", "public_key", "base_url")
# Settings whose text may carry a password: each also as NAME_FILE. (The keys of Telnyx have file
# settings of their own, because those files are read again while running.)
_SECRET_TEXTS = ("stream", "ledger", "store")
_SECRET_FILES = {f"TRUNKLINE_{field.upper()}_FILE": field for field in _SECRET_TEXTS}
_NOT_SETTINGS = {"TRUNKLINE_CONFIG", *_SECRET_FILES}


def load(file: Path | None, environ: Mapping[str, str]) -> Settings:
    """Raises Misconfigured naming every wrong setting and where it was set."""
    tree, origins = _read_file(file), {}
    names = _environment_names()
    for name, value in sorted(environ.items()):
        if name in names:
            path = names[name]
            _put(tree, path, value)
            origins[path] = name
        elif name in _NOT_SETTINGS or SERVICE_LINK.search(name):
            continue
        elif name.startswith("TRUNKLINE_"):
            raise Misconfigured(name, "no such setting")
    for variable, field in _SECRET_FILES.items():
        if variable in environ:
            if f"TRUNKLINE_{field.upper()}" in environ:
                raise Misconfigured(variable, "set either this or the variable without _FILE")
            tree[field] = read_secret(variable, Path(environ[variable]))
            origins[(field,)] = variable
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        raise _translate(error, origins) from None


def read_secret(setting: str, path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(setting, f"cannot read {path}: {error}") from None
    if not text:
        raise Misconfigured(setting, f"{path} is empty")
    return text


def describe(settings: Settings) -> dict[str, Any]:
    """Settings as plain values with every secret masked, for showing."""
    plain: dict[str, Any] = settings.model_dump(mode="json")
    for field in _SECRET_TEXTS:
        plain[field] = mask_url(plain[field])
    return plain


def mask_url(url: str) -> str:
    """A URL without its passwords, in user-info and in query parameters."""
    head, question, query = url.partition("?")
    scheme, separator, rest = head.partition("://")
    credentials, at, host = rest.rpartition("@")
    if at:
        head = f"{scheme}{separator}{credentials.partition(':')[0]}:***@{host}"
    pairs = []
    for pair in query.split("&") if question else []:
        name, _, _ = pair.partition("=")
        secret = any(word in name.lower() for word in ("password", "secret", "token", "key"))
        pairs.append(f"{name}=***" if secret else pair)
    return head + question + "&".join(pairs)


class _Loader(yaml.SafeLoader):
    """YAML keeps the last of two equal keys; a setting written twice is a mistake to report."""


def _no_duplicates(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node)
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key!r} is written twice", key_node.start_mark
            )
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _no_duplicates)


def _read_file(file: Path | None) -> dict[str, Any]:
    path = file or Path(DEFAULT_FILE)
    if file is None and not path.exists():
        return {}
    try:
        with path.open(encoding="utf-8") as text:
            tree = yaml.load(text, _Loader)  # noqa: S506  # a SafeLoader with one check more
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Misconfigured(str(path), f"cannot be read: {error}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise Misconfigured(str(path), "must be a mapping of settings")
    return tree


def _environment_names() -> dict[str, tuple[str, ...]]:
    names: dict[str, tuple[str, ...]] = {}
    for field, info in Settings.model_fields.items():
        section = info.annotation
        if field == "telnyx":
            names |= {f"TELNYX_{key.upper()}": (field, key) for key in _TELNYX}
            names |= {f"TELNYX_{key.upper()}_FILE": (field, f"{key}_file") for key in _TELNYX[:2]}
        elif isinstance(section, type) and issubclass(section, BaseModel):
            for key in section.model_fields:
                if key != "overrides":
                    names[f"TRUNKLINE_{field}_{key}".upper()] = (field, key)
        elif field != "accounts":
            names[f"TRUNKLINE_{field}".upper()] = (field,)
    return names


def _put(tree: dict[str, Any], path: tuple[str, ...], value: str) -> None:
    for part in path[:-1]:
        inner = tree.setdefault(part, {})
        if not isinstance(inner, dict):
            raise Misconfigured(part, "must be a mapping")
        tree = inner
    tree[path[-1]] = value


def _translate(error: ValidationError, origins: Mapping[tuple[str, ...], str]) -> Misconfigured:
    problems = []
    for detail in error.errors():
        path = tuple(str(part) for part in detail["loc"])
        setting = ".".join(path)
        for length in range(len(path), 0, -1):
            if path[:length] in origins:
                setting = f"{setting} ({origins[path[:length]]})"
                break
        unknown = detail["type"] == "extra_forbidden"
        problems.append((setting, "no such setting" if unknown else detail["msg"]))
    first, *rest = problems
    more = "".join(f"\n{setting}: {problem}" for setting, problem in rest)
    return Misconfigured(first[0], first[1] + more)
