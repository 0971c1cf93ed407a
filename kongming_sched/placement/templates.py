# SPDX-License-Identifier: Apache-2.0
"""The templates in Placement: list, read, create, change, delete."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from kongming_sched import exceptions
from kongming_sched.placement import codec, names
from kongming_sched.placement.classes.records import ClassReader, ServerClass, delete_class_provider
from kongming_sched.placement.client import PlacementClient, Provider
from kongming_sched.placement.conflict import retry_on_conflict
from kongming_sched.template import NAME, CpuPolicy, PinningTemplate

Progress = Callable[[Sequence[PinningTemplate]], Iterable[PinningTemplate]]


@dataclass(frozen=True, slots=True)
class StoredTemplate:
    """A template as Placement holds it.

    :ivar version: the generation of its provider, which grows with every change
    :ivar aggregates: Placement aggregates whose hosts are offered it; none means all hosts
    """

    template: PinningTemplate
    version: int
    aggregates: frozenset[str] = frozenset()

    def is_offered_to(self, host_aggregates: frozenset[str]) -> bool:
        """Whether a host that is in these aggregates is offered the template."""
        return not self.aggregates or not self.aggregates.isdisjoint(host_aggregates)


@dataclass(frozen=True, slots=True)
class TemplateList:
    """All templates: the valid ones by name, and the errors of the others.

    :ivar class_providers: those on which servers are recorded, for classes/records.py
    """

    templates: dict[str, StoredTemplate]
    broken: tuple[exceptions.InvalidTraits, ...]
    class_providers: tuple[Provider, ...] = ()

    def find(self, name: str) -> PinningTemplate:
        """One of these templates.

        :raises TemplateNotFound: if there is none of this name
        :raises InvalidTraits: if its traits are not a template
        """
        if name in self.templates:
            return self.templates[name].template
        raise next((error for error in self.broken if error.name == name), None) or exceptions.TemplateNotFound(name)


class TemplateStore:
    """The templates of a cloud. Listing them costs one request, and two for each that has changed since."""

    def __init__(self, client: PlacementClient) -> None:
        self._client = client
        self._seen: dict[str, tuple[int, StoredTemplate | exceptions.InvalidTraits]] = {}
        self._classes = ClassReader(client)

    def list(self) -> TemplateList:
        """Every template of the cloud."""
        seen = {}
        class_providers = []
        for provider in sorted(self._client.template_providers(), key=lambda provider: provider.name):
            if names.class_of_provider(provider.name) is not None:
                class_providers.append(provider)
                continue
            known = self._seen.get(provider.uuid)
            if known is not None and known[0] == provider.generation:
                seen[provider.uuid] = known
            else:
                with contextlib.suppress(exceptions.ProviderNotFound):  # deleted since it was listed
                    seen[provider.uuid] = provider.generation, self._read(provider)
        self._seen = seen
        found = [item for _, item in seen.values()]
        return TemplateList(
            {item.template.name: item for item in found if isinstance(item, StoredTemplate)},
            tuple(item for item in found if isinstance(item, exceptions.InvalidTraits)),
            tuple(class_providers),
        )

    def read_classes(self, found: TemplateList) -> dict[str, ServerClass]:
        """The class of each server that has one, by the consumer that records it.

        This costs a request for each of these class providers that has changed since.
        """
        return self._classes.read(found.class_providers)

    def get(self, name: str) -> StoredTemplate:
        """One template.

        :raises TemplateNotFound: if there is none of this name
        :raises InvalidTraits: if its traits are not a template
        """
        item = self._read(self._provider(name))
        if isinstance(item, exceptions.InvalidTraits):
            raise item
        return item

    @retry_on_conflict
    def create(self, template: PinningTemplate, aggregates: Iterable[str] = ()) -> StoredTemplate:
        """Store a new template. A creation that was interrupted before its last step is completed.

        :raises TemplateExists: if the name is taken
        """
        return self._write(self._make_provider(template), template, frozenset(aggregates))

    def create_all(
        self, templates: Iterable[PinningTemplate], aggregates: Iterable[str] = (), progress: Progress = iter
    ) -> tuple[StoredTemplate, ...]:
        """Store new templates, all of them or none.

        First everything is written except the traits that make a provider a template, so that it is not visible as one.
        Then these traits are set, one template after the other. After a failure, what was written is deleted. If this
        process is killed between the first and the last of these traits, the same call again stores the rest.

        :param progress: wraps the templates of each of the two rounds, so that a caller can show how far it is
        :raises TemplateExists: if a name is taken
        :raises TemplatesHalfStored: if what was stored could not be deleted, because Placement does not answer any more
        """
        wanted, offered_to = list(templates), frozenset(aggregates)
        begun, published, stored = [], set(), []
        try:
            for template in progress(wanted):
                begun.append(template.name)
                self._draft(template, offered_to)
            for template in progress(wanted):
                published.add(template.name)
                try:
                    stored.append(self.create(template, offered_to))
                except exceptions.TemplateExists:  # another client has stored it since the first round
                    published.remove(template.name)
                    raise
        except BaseException as cause:  # KeyboardInterrupt too
            self._take_back(begun, published, cause)
            raise
        return tuple(stored)

    @retry_on_conflict
    def _draft(self, template: PinningTemplate, aggregates: frozenset[str]) -> None:
        """Write a new template except for the traits that make it visible."""
        provider = self._make_provider(template)
        self._write_beneath(provider, template, aggregates)

    def _take_back(self, begun: Sequence[str], published: Collection[str], cause: BaseException) -> None:
        """Delete these templates, drafts and published ones, but none that another client has stored.

        :param cause: why they are deleted
        :raises TemplatesHalfStored: if that fails
        """
        left = list(begun)
        try:
            for name in begun:
                provider = self._find(name)
                if provider and (name in published or not self._client.traits(provider.uuid)):
                    self._client.delete_provider(provider.uuid)
                    self._client.forget_trait(names.template_trait(name))
                left.remove(name)
        except exceptions.PlacementError as error:
            raise exceptions.TemplatesHalfStored(tuple(left), str(cause) or repr(cause), str(error)) from error

    @retry_on_conflict
    def update(self, template: PinningTemplate, aggregates: Iterable[str] | None = None) -> StoredTemplate:
        """Replace a template.

        :param aggregates: None keeps those that it has

        :raises TemplateNotFound: if there is none of this name
        """
        provider = self._provider(template.name)
        wanted = self._client.aggregates(provider.uuid) if aggregates is None else frozenset(aggregates)
        return self._write(provider, template, wanted)

    def delete(self, name: str) -> None:
        """Delete a template.

        Its trait is deleted too, here or with the last node that has it. For a flavor that still requires it Nova then
        logs that there is no such trait, instead of only that no host was found.

        :raises TemplateNotFound: if there is none of this name
        :raises TemplateInUse: if servers have it instead of their flavor's
        """
        provider = self._provider(name)
        delete_class_provider(self._client, name)
        try:
            self._client.delete_provider(provider.uuid)
        except exceptions.ProviderNotFound as error:  # deleted by another client since
            raise exceptions.TemplateNotFound(name) from error
        self._client.forget_trait(names.template_trait(name))

    def _make_provider(self, template: PinningTemplate) -> Provider:
        """A provider that is no template yet: a new one, or one whose creation was interrupted.

        :raises TemplateExists: if it is a template
        """
        provider = self._find(template.name)
        if provider is None:
            uuid, name = names.template_uuid(template.name), names.template_provider_name(template.name)
            try:
                return self._client.create_provider(uuid, name)
            except exceptions.PlacementError as error:
                if error.status == 409 and not isinstance(error, exceptions.PlacementConflict):
                    raise exceptions.TemplateExists(template.name) from error
                raise
        if self._client.traits(provider.uuid):
            raise exceptions.TemplateExists(template.name)
        return provider

    def _write(self, provider: Provider, template: PinningTemplate, aggregates: frozenset[str]) -> StoredTemplate:
        """Write a template, its aggregates first: once it has its traits, it is offered to all hosts of these."""
        generation = self._write_beneath(provider, template, aggregates)
        generation = self._client.set_traits(provider.uuid, generation, codec.encode(template))
        return StoredTemplate(template, generation, aggregates)

    def _write_beneath(self, provider: Provider, template: PinningTemplate, aggregates: frozenset[str]) -> int:
        """Write all that must exist before the traits, and return the provider's generation."""
        traits = codec.encode(template)
        self._client.ensure_traits(traits | {names.template_trait(template.name)})
        if any(cell.cpus is CpuPolicy.EXPLICIT for cell in template.cells):
            self._client.ensure_resource_classes([names.slot_class(template.name)])
        generation = provider.generation
        if self._client.aggregates(provider.uuid) != aggregates:
            generation = self._client.set_aggregates(provider.uuid, generation, aggregates)
        return generation

    def _find(self, name: str) -> Provider | None:
        found = self._client.providers(name=names.template_provider_name(name))
        return found[0] if found else None

    def _provider(self, name: str) -> Provider:
        provider = self._find(name) if NAME.fullmatch(name) else None
        if provider is None:
            raise exceptions.TemplateNotFound(name)
        return provider

    def _read(self, provider: Provider) -> StoredTemplate | exceptions.InvalidTraits:
        name = names.template_of_provider(provider.name)
        if name is None:
            return exceptions.InvalidTraits(provider.name, names.TEMPLATE, "is on a provider that is no template's")
        try:
            template = codec.decode(name, self._client.traits(provider.uuid))
        except exceptions.InvalidTraits as error:
            return error
        return StoredTemplate(template, provider.generation, self._client.aggregates(provider.uuid))
