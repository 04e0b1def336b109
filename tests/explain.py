"""Asks Postgres for the plan of a statement."""

from shared.ledger.statement import Statement


def explain(statement: Statement, options: str = "COSTS") -> Statement:
    """A statement that takes the same values and returns the plan."""
    explained = Statement(f"EXPLAIN ({options}) {statement.sql}")
    explained.names = statement.names
    return explained
