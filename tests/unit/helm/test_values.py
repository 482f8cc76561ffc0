"""The chart's values, as a user reads them."""

from collections.abc import Iterator

import yaml

from builders.chart import CHART


def keys_given_twice(node: yaml.Node | None, path: str = "") -> Iterator[str]:
    """The paths of keys that a mapping has twice: YAML's loaders take the last one without a word."""
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from keys_given_twice(item, f"{path}[{index}]")
    if not isinstance(node, yaml.MappingNode):
        return
    names = [key.value for key, _ in node.value]
    yield from (f"{path}.{name}" for name in sorted(set(names)) if names.count(name) > 1)
    for key, value in node.value:
        yield from keys_given_twice(value, f"{path}.{key.value}")


def test_no_value_is_given_twice() -> None:
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    assert list(keys_given_twice(yaml.compose(text, Loader=yaml.SafeLoader))) == []
    assert list(keys_given_twice(yaml.compose("a: {b: 1, c: [{d: 1, d: 2}], b: 2}"))) == [".a.b", ".a.c[0].d"]
