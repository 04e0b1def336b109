"""Asks Postgres for the execution plan of a statement."""

from shared.ledger.statement import Statement


def explain(statement: Statement, options: str = "COSTS") -> Statement:
    """Create a statement with the same parameters that returns the execution plan of the given
    statement.
    """
    explained = Statement(f"EXPLAIN ({options}) {statement.sql}")
    explained.names = statement.names
    return explained
