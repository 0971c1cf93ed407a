# SPDX-License-Identifier: Apache-2.0
"""The directives. Each writes reStructuredText from what the code says, and has Sphinx read that."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from typing import Any

import yaml
from docutils import nodes
from docutils.parsers.rst import directives as options
from oslo_config.cfg import ConfigOpts
from sphinx.util.docutils import SphinxDirective

from kongming_reference import clauses, symbols
from kongming_sched import exceptions, schemas, validators
from kongming_sched.agent.telemetry.metrics import Metrics
from kongming_sched.placement import codec, flavor, names
from kongming_sched.status.command import Checks
from kongming_sched.template import PinningTemplate


class _Generated(SphinxDirective):
    """A directive whose text is made from the code."""

    def run(self) -> list[nodes.Node]:
        """Have Sphinx read the text, in which an error is one of this directive's."""
        try:
            lines = list(self.lines())
        except (exceptions.KongMingError, clauses.Incomplete, yaml.YAMLError, ImportError, AttributeError) as error:
            raise self.error(str(error)) from error
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)

    def lines(self) -> Iterable[str]:
        """The text."""
        raise NotImplementedError


def _table(head: Sequence[str], widths: str, rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A list-table, whose cells may be of several lines."""
    yield from (".. list-table::", "   :header-rows: 1", f"   :widths: {widths}", "")
    for row in (head, *rows):
        for index, cell in enumerate(row):
            first, *more = cell.splitlines() or [""]
            yield f"   {'*' if not index else ' '} - {first}"
            yield from (f"       {line}".rstrip() for line in more)
    yield ""


def _definitions(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    for term, text in pairs:
        yield f"``{term}``"
        yield from (f"   {line}".rstrip() for line in (text or "..").splitlines())
        yield ""


def _code(language: str, text: str) -> Iterator[str]:
    yield from (f".. code-block:: {language}", "", *(f"   {line}".rstrip() for line in text.splitlines()), "")


class Vocabulary(_Generated):
    """The traits and resource classes of node providers and template providers."""

    def lines(self) -> Iterator[str]:
        """Each name of placement/names.py with its docstring."""
        return _definitions(symbols.vocabulary(names))


class Choices(_Generated):
    """The values of an enumeration: ``.. kongming-choices:: kongming_sched.template.ThreadPolicy``."""

    required_arguments = 1

    def lines(self) -> Iterator[str]:
        """Each value with its docstring."""
        enum = symbols.load(self.arguments[0])
        if not isinstance(enum, type) or not issubclass(enum, Enum):
            raise AttributeError(f"{self.arguments[0]} is no enumeration")
        return _definitions(symbols.members(enum))


class Clauses(_Generated):
    """The clauses of a class: ``.. kongming-clauses:: kongming_sched.clauses.cell.TemplateCell``.

    In another language than English the content has a sentence for each clause in a line of its own (``vcpus: ...``),
    the option ``head`` the titles of the four columns, and ``required`` the word for a clause that must not be left
    out.
    """

    required_arguments = 1
    has_content = True
    option_spec = {"head": options.unchanged, "required": options.unchanged}  # noqa: RUF012  # docutils' way

    def lines(self) -> Iterator[str]:
        """A row for each clause."""
        part = symbols.load(self.arguments[0])
        if not isinstance(part, type):
            raise AttributeError(f"{self.arguments[0]} is no class")
        head = self.options.get("head", "key, value, default, meaning").split(", ")
        translated = clauses.sentences(self.content) if self.content else None
        rows = clauses.rows(part, translated, self.options.get("required", "required"))
        return _table(head, "12 26 12 50", rows)


class MetricTable(_Generated):
    """What the agent exports to Prometheus."""

    def lines(self) -> Iterator[str]:
        """Each metric of a registry that has seen nothing yet."""
        return _table(("metric", "what it says"), "45 55", sorted(self._rows()))

    def _rows(self) -> Iterator[tuple[str, str]]:
        registry: Any = Metrics().registry
        for collector in registry._collector_to_names:
            for family in collector.collect():
                if not family.name.startswith("kongming_"):
                    continue  # what the library exports of every process
                own = getattr(collector, "_labelnames", None) or getattr(family, "_labelnames", ())
                labels = f"\n\nLabels: {', '.join(f'``{label}``' for label in own)}." if own else ""
                name = f"{family.name}_total" if family.type == "counter" else family.name
                yield f"``{name}``\n\n{family.type}", f"{family.documentation}{labels}"


class ExceptionTree(_Generated):
    """Every error that KongMing raises on purpose, with the shape of its message."""

    def lines(self) -> Iterator[str]:
        """Each class of exceptions.py, in its order."""
        for name, error in vars(exceptions).items():
            if inspect.isclass(error) and issubclass(error, Exception):
                yield f".. py:exception:: kongming_sched.exceptions.{name}"
                yield ""
                base = error.__bases__[0]
                text = inspect.getdoc(error) or ""
                yield from (f"   {line}".rstrip() for line in text.splitlines())
                yield ""
                if base is not Exception:
                    yield f"   A :py:exc:`{base.__name__} <kongming_sched.exceptions.{base.__name__}>`."
                    yield ""
                if message := symbols.example(error):
                    yield from (f"   {line}" for line in _code("text", message))


class ExtraSpecs(_Generated):
    """The extra specs that nova-api checks."""

    def lines(self) -> Iterator[str]:
        """Each validator with its description, and what its value may be."""
        for validator in validators.register():
            value = validator.value
            may_be = ", ".join(value["enum"]) if "enum" in value else value.get("pattern", value["type"].__name__)
            yield from _definitions([(validator.name, f"{validator.description}\n\nValue: ``{may_be}``")])


class Template(_Generated):
    """A template: the file, and its traits in Placement. A template that breaks a rule breaks the build.

    The option ``lead`` is what stands between the two, in another language than English.
    """

    has_content = True
    option_spec = {"lead": options.unchanged}  # noqa: RUF012  # docutils' way

    def lines(self) -> Iterator[str]:
        """The YAML as it stands here, and what the codec makes of it."""
        yield from _code("yaml", "\n".join(self.content))
        lead = self.options.get("lead", "Placement holds it as these traits of the provider")
        yield f"{lead} ``{names.template_provider_name(self.template.name)}``:"
        yield ""
        yield from _code("text", "\n".join(sorted(codec.encode(self.template))))

    @property
    def template(self) -> PinningTemplate:
        """The template of the content.

        :raises InvalidTemplate: naming the rule
        """
        return PinningTemplate.from_mapping(yaml.safe_load("\n".join(self.content)))


class Flavor(Template):
    """The extra specs of a flavor that asks for a template, as ``flavor set`` writes them."""

    option_spec = {  # noqa: RUF012  # docutils' way
        "memory-mb": options.nonnegative_int,
        "threads-per-core": options.positive_int,
    }

    def lines(self) -> Iterator[str]:
        """Each extra spec."""
        specs = flavor.extra_specs(
            self.template,
            {},
            vcpus=self.template.vcpus,
            memory_mb=self.options.get("memory-mb", 8192),
            threads_per_core=self.options.get("threads-per-core"),
        )
        return _code("text", "\n".join(f"{key}={value}" for key, value in specs.items()))


class Options(_Generated):
    """The options of a command line: ``.. kongming-options:: kongming_sched.conf.status.CLI_OPTS``."""

    required_arguments = 1

    def lines(self) -> Iterator[str]:
        """Each option with its help."""
        found: Any = symbols.load(self.arguments[0])
        for option in found:
            value = f" {option.metavar}" if option.metavar else ""
            yield from (f".. option:: --{option.name}{value}", "", f"   {option.help}", "")


class StatusChecks(_Generated):
    """What kongming-status checks."""

    def lines(self) -> Iterator[str]:
        """Each check with the docstring of what does it."""
        for title, run in Checks(ConfigOpts())._upgrade_checks:
            (check,) = run.__defaults__ or (run,)
            yield from (title, f"   {inspect.getdoc(check)}", "")


class Schemas(_Generated):
    """The JSON schemas that come with the package."""

    def lines(self) -> Iterator[str]:
        """Each schema: what it is of, and those of files as a whole."""
        for name in schemas.schema_names():
            schema = schemas.load_schema(name)
            yield from (f"``{name}``", f"   {schema['title']}. {schema.get('description', '')}".rstrip(), "")
        yield from ("The schema of a template:", "")
        yield from _code("json", json.dumps(schemas.load_schema("template-v1"), indent=2))


ALL: dict[str, type[SphinxDirective]] = {
    "kongming-vocabulary": Vocabulary,
    "kongming-choices": Choices,
    "kongming-clauses": Clauses,
    "kongming-metrics": MetricTable,
    "kongming-exceptions": ExceptionTree,
    "kongming-extra-specs": ExtraSpecs,
    "kongming-template": Template,
    "kongming-flavor": Flavor,
    "kongming-options": Options,
    "kongming-checks": StatusChecks,
    "kongming-schemas": Schemas,
}
