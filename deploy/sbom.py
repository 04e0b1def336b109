"""Writes the packages of an image as a software bill of materials (CycloneDX JSON), from
requirements.lock.

`python -m deploy.sbom dependencies worker` describes the worker's image. The same lock file always
gives the same text.
"""

import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from deploy import lock
from deploy.lock import Entry


def describe(pyproject: str, locked: str, groups: Iterable[str]) -> str:
    """The bill of materials for the packages in these groups of pyproject.toml. Raises LookupError
    for an unknown group.
    """
    roots = lock.roots(pyproject, groups)
    entries = lock.read(lock.select(lock.read(locked), roots))
    project = tomllib.loads(pyproject)["project"]
    product = Component(
        name=project["name"], version=project["version"], type=ComponentType.APPLICATION, bom_ref="project"
    )
    components = {name: _component(name, entry) for name, entry in entries.items()}
    bom = Bom(
        components=components.values(),
        metadata=BomMetaData(component=product),
        serial_number=uuid5(NAMESPACE_URL, "".join(entry.text for entry in entries.values())),
    )
    # The timestamp is left out, because the time of creation would make each build differ.
    bom.metadata.timestamp = None  # type: ignore[assignment] # the library sets it, and leaves out None
    bom.register_dependency(product, [components[lock.name_of(root)] for root in roots])
    for name, component in components.items():
        needed = [components[other] for other, entry in entries.items() if name in entry.via]
        bom.register_dependency(component, needed)
    return JsonV1Dot6(bom).output_as_string(indent=2)


def _component(name: str, entry: Entry) -> Component:
    purl = PackageURL("pypi", None, name, entry.version)
    return Component(
        name=name, version=entry.version, type=ComponentType.LIBRARY, purl=purl, bom_ref=purl.to_string()
    )


def main(*groups: str) -> None:
    pyproject, locked = (Path(name).read_text() for name in ("pyproject.toml", "requirements.lock"))
    sys.stdout.write(f"{describe(pyproject, locked, groups)}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
