"""Registers the tables and migrations of accounts, sessions and keys with Piccolo."""

from pathlib import Path

from piccolo.conf.apps import AppConfig

from shared.identity.tables import TABLES

APP_CONFIG = AppConfig(
    app_name="identity",
    migrations_folder_path=str(Path(__file__).parent / "migrations"),
    table_classes=list(TABLES),
    migration_dependencies=[],
)
