"""Defines the version of the package often-client. pyproject.toml reads it from here."""

VERSION = "0.2.0"
