"""Declares the hotel application: where its contracts, routes, tables and other parts are."""

from shared.applications import Application

APPLICATION = Application(
    name="hotel",
    contracts="shared.hotel.contracts",
    bodies="services.worker.hotel.tasks",
    gateways="services.worker.hotel.gateways.registry:build",
    routes="services.api.hotel.routes:ROUTES",
    tables="shared.hotel.tables:TABLES",
    grants="shared.hotel.grants:GRANTS",
    migrations="shared.hotel.piccolo_app",
    quotas="shared.hotel.quotas:per_day",
    settings="shared.hotel.settings:HotelSettings",
    account_mail="shared.hotel.contracts.email:SEND_ACCOUNT_MAIL",
    personal_data="shared.hotel.personal_data:PERSONAL_DATA",
)
