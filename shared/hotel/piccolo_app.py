"""Registers the hotel application's tables and migrations with Piccolo."""

from pathlib import Path

from piccolo.conf.apps import AppConfig

from shared.hotel.tables import TABLES

APP_CONFIG = AppConfig(
    app_name="hotel",
    migrations_folder_path=str(Path(__file__).parent / "migrations"),
    table_classes=list(TABLES),
    migration_dependencies=[],
)
