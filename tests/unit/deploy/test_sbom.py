"""Tests that the software bill of materials lists exactly the packages that an image installs."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.model.bom import Bom

from deploy import lock, sbom

ROOT = Path(__file__).parents[3]
PYPROJECT, LOCK = (ROOT / "pyproject.toml").read_text(), (ROOT / "requirements.lock").read_text()
#: The groups of packages that each image installs, by its stage in the Dockerfile.
GROUPS = {"api": ["api"], "worker": ["worker"], "scheduler": ["scheduler"], "migrate": []}


def _described(*groups: str) -> dict[str, Any]:
    described: dict[str, Any] = json.loads(sbom.describe(PYPROJECT, LOCK, groups))
    return described


@pytest.mark.parametrize("image", GROUPS)
def test_it_names_each_package_of_the_image_in_its_locked_version(image: str) -> None:
    groups = ["dependencies", *GROUPS[image]]
    picked = lock.select(lock.read(LOCK), lock.roots(PYPROJECT, groups))
    installed = set(re.findall(r"^([a-z0-9-]+)(?:\[[a-z0-9,-]+\])?==(\S+)", picked, re.MULTILINE))
    components = _described(*groups)["components"]
    assert {(each["name"], each["version"]) for each in components} == installed
    assert all(each["purl"] == f"pkg:pypi/{each['name']}@{each['version']}" for each in components)


def test_it_says_which_package_is_there_because_of_which() -> None:
    needs = {
        each["ref"]: each.get("dependsOn", []) for each in _described("dependencies", "api")["dependencies"]
    }
    names = {ref: {re.split("[/@]", needed)[1] for needed in needed_by} for ref, needed_by in needs.items()}
    assert {"litestar", "asyncpg"} <= names["project"]
    assert "hiredis" not in names["project"]
    assert "hiredis" in next(found for ref, found in names.items() if ref.startswith("pkg:pypi/redis@"))


def test_it_keeps_to_the_standard_and_is_the_same_each_time() -> None:
    text = sbom.describe(PYPROJECT, LOCK, ["dependencies", "worker"])
    read = Bom.from_json(json.loads(text))  # type: ignore[attr-defined] # added by a decorator
    assert read.validate()
    assert (json.loads(text)["bomFormat"], json.loads(text)["specVersion"]) == ("CycloneDX", "1.6")
    assert sbom.describe(PYPROJECT, LOCK, ["dependencies", "worker"]) == text


def test_each_image_carries_its_own() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    for image, groups in GROUPS.items():
        extra = ['"$EXTRA"'] if groups else []
        made = " ".join(["python -m deploy.sbom dependencies", *extra, *groups, f"> {image}.json"])
        assert made in dockerfile
        stage = dockerfile.partition(f"FROM runtime AS {image}\n")[2].partition("\nFROM ")[0]
        assert f"COPY --from=sboms /app/{image}.json /app/sbom.json" in stage
