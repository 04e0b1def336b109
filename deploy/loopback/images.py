"""Tests the container images: that they can be built, and what they contain."""

import json
import time
from typing import Any

from deploy.loopback import stand
from deploy.loopback.stand import compose, docker, expect, inspect

#: For each image, the services of the project whose code it may contain.
IMAGES = {"api": ["api"], "worker": ["worker"], "scheduler": ["scheduler"], "migrate": []}
#: Time limit of an image build in seconds. If a build is slower, the next run continues it from
#: Docker's cache.
BUILD_LIMIT_S = 420

#: Source of a program that runs inside an image, and reports what can be imported, written and run
#: there.
PROBE = """
import importlib, json, os, shutil

def imports(name):
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        return False
    return True

def writes(folder):
    try:
        open(f"{folder}/probe", "w").close()
    except OSError:
        return False
    return True

print(json.dumps({
    "uid": os.getuid(),
    "services": [name for name in ("api", "worker", "scheduler") if imports(f"services.{name}")],
    "installers": [name for name in ("pip", "ensurepip", "setuptools", "wheel") if imports(name)],
    "programs": [name for name in ("cc", "gcc", "make", "git", "pip", "pip3") if shutil.which(name)],
    "described": len(json.load(open("/app/sbom.json"))["components"]) > 10,
    "writable": [name for name in ("/", "/app", "/opt/venv", "/usr/local/lib", "/tmp") if writes(name)],
}))
"""


def validate() -> str:
    compose("config", "--quiet", files=("docker-compose.yml",))
    compose("config", "--quiet")
    return "alone and with the override"


def build() -> str:
    begun = time.monotonic()
    compose("build", "--quiet", limit_s=BUILD_LIMIT_S)
    return f"in {time.monotonic() - begun:.0f} s (what the cache holds is not built again)"


def look_inside() -> str:
    sizes = []
    for name, services in IMAGES.items():
        expect(f"{name} image", _probe(name), _wanted(services))
        sizes.append(f"{name} {inspect(stand.image(name))['Size'] / 1e6:.0f} MB")
    return f"no other service, no installer, not root, writable only /tmp; {', '.join(sizes)}"


def _probe(name: str) -> dict[str, Any]:
    options = ("--rm", "--interactive", "--read-only", "--tmpfs", "/tmp", "--network", "none")
    reported: dict[str, Any] = json.loads(
        docker("run", *options, stand.image(name), "python", "-", given=PROBE),
    )
    return reported


def _wanted(services: list[str]) -> dict[str, Any]:
    nothing: list[str] = []
    return {
        "uid": 10_001,
        "services": services,
        "installers": nothing,
        "programs": nothing,
        "described": True,
        "writable": ["/tmp"],
    }
