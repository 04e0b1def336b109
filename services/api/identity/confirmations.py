"""Confirms addresses: an address is verified once the link in a mail to it was used.

Each act is one transaction, in which its mails are submitted too. The worker sends them; see
shared/contracts/account_mail.py. Where no application sends mail, addresses count as confirmed.
"""

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg

from services.api.audit import trail
from services.api.audit.actions import Action
from services.api.audit.actor import Actor
from services.api.audit.trail import Target
from services.api.http.errors import AddressTaken
from services.api.identity import accounts
from services.api.identity.account_schemas import Account
from services.api.identity.accounts import NewAccount
from services.api.identity.verification_refusals import (
    AddressVerified,
    TooManyConfirmations,
    UnknownConfirmation,
)
from shared.contracts.account_mail import CONFIRMATION_LIFE, AccountMailKind, SendAccountMail
from shared.contracts.contract import Contract
from shared.errors import FieldProblem, InvalidFields
from shared.ledger.database import Database
from shared.ledger.statement import Statement
from shared.submission import NewTask, Submitter

#: Mails within an hour for one account, and to one address for all accounts together.
MAX_MAILS: Final = 3
#: First key of the advisory locks that let one request at a time ask for an address.
ADDRESS_LOCKS: Final = 0x6F660001

#: Every act locks the account first, so that two of them cannot wait for each other.
_HOLD = Statement("SELECT email, verified_at FROM account WHERE id = :user FOR UPDATE")
_HOLD_BY_TOKEN = Statement("""
    SELECT id FROM account
    WHERE id = (SELECT "user" FROM account_confirmation WHERE token_hash = :token_hash) FOR UPDATE
""")
_LOCK_ADDRESS = Statement("SELECT pg_advisory_xact_lock(:locks, hashtext(:email))")

#: Seconds until the account and the address may have another mail; null when they may now.
_WAIT = Statement("""
    SELECT extract(epoch FROM greatest(
        (SELECT created_at FROM account_confirmation WHERE "user" = :user
         ORDER BY created_at DESC OFFSET :most - 1 LIMIT 1),
        (SELECT created_at FROM account_confirmation WHERE email = :email
         ORDER BY created_at DESC OFFSET :most - 1 LIMIT 1)
    ) + interval '1 hour' - now())::float8 AS wait_s
""")

_STORE = Statement("""
    INSERT INTO account_confirmation (token_hash, "user", email, expires_at)
    VALUES (:token_hash, :user, :email, now() + make_interval(secs => :life_s))
""")

#: Open questions of an account end when it asks for another address, and when one of them is answered.
_END_OPEN = Statement("""
    UPDATE account_confirmation SET used_at = now() WHERE "user" = :user AND used_at IS NULL
""")

_CANCEL_CHANGE = Statement("""
    UPDATE account_confirmation AS c SET used_at = now() FROM account AS a
    WHERE a.id = :user AND c."user" = a.id AND c.email <> a.email AND c.used_at IS NULL
""")

#: A token of an account that is not active changes nothing.
_CONFIRM = Statement("""
    UPDATE account AS a SET email = c.email, verified_at = now() FROM account_confirmation AS c
    WHERE c.token_hash = :token_hash AND c.used_at IS NULL AND c.expires_at > now()
      AND a.id = c."user" AND a.is_active
    RETURNING a.id, a.email
""")

_IS_TAKEN = Statement("SELECT EXISTS (SELECT FROM account WHERE email = :email) AS taken")
_MOVE = Statement("UPDATE account SET email = :email, verified_at = now() WHERE id = :user")


class Confirmations:
    """Registers accounts, asks whether addresses are theirs, and takes the answers."""

    def __init__(
        self, database: Database, submitter: Submitter, mail: Contract[SendAccountMail, Any] | None
    ) -> None:
        """`mail` is the contract of the application that sends mail; None when there is none."""
        self._database = database
        self._submitter = submitter
        self._mail = mail

    async def sign_up(self, new: NewAccount, actor: Actor) -> Account | None:
        """Store an account and ask its address; None when the address is taken."""
        async with self._act():
            account = await accounts.store(self._database, new, actor, verified=self._mail is None)
            if account is not None and self._mail is not None:
                await self._ask(self._mail, account.id, account.email)
        return account

    async def ask_again(self, account_id: int, actor: Actor) -> bool:
        """Ask the account's address once more. Returns False when no mail is needed: it is verified now.

        Raises AddressVerified or TooManyConfirmations.
        """
        async with self._act():
            (held,) = await self._database.run(_HOLD, user=account_id)
            if held["verified_at"] is not None:
                raise AddressVerified
            await self._record(actor, Action.ADDRESS_ASKED, account_id)
            if self._mail is None:
                await self._database.run(_MOVE, user=account_id, email=held["email"])
                return False
            await self._refuse_too_many(account_id, held["email"])
            await self._ask(self._mail, account_id, held["email"])
        return True

    async def change(self, account_id: int, address: str, actor: Actor) -> bool:
        """Ask a new address, which becomes the account's with its answer. Returns False as `ask_again` does.

        An address that another account has leads to the same rows, the same number of mails and the same
        answer. Only the mail to it differs. Raises InvalidFields, TooManyConfirmations or, where no mail is
        needed, AddressTaken.
        """
        try:
            async with self._act():
                (held,) = await self._database.run(_HOLD, user=account_id)
                if address == held["email"]:
                    raise InvalidFields([FieldProblem("email", "must differ from your present address")])
                await self._record(actor, Action.ADDRESS_ASKED, account_id)
                if self._mail is None:
                    await self._database.run(_MOVE, user=account_id, email=address)
                    return False
                await self._refuse_too_many(account_id, address)
                await self._database.run(_END_OPEN, user=account_id)
                await self._ask_for_change(self._mail, account_id, address, held)
        except asyncpg.UniqueViolationError:
            raise AddressTaken from None
        return True

    async def confirm(self, token: str, actor: Actor) -> str:
        """Make the address that got this token its account's, verified; returns the address.

        Raises UnknownConfirmation, or AddressTaken when another account got the address meanwhile.
        """
        digest = _digest(token)
        try:
            async with self._act():
                await self._database.run(_HOLD_BY_TOKEN, token_hash=digest)
                confirmed = await self._database.run(_CONFIRM, token_hash=digest)
                if not confirmed:
                    raise UnknownConfirmation
                await self._database.run(_END_OPEN, user=confirmed[0]["id"])
                await self._record(actor, Action.ADDRESS_CONFIRMED, confirmed[0]["id"])
        except asyncpg.UniqueViolationError:
            raise AddressTaken from None
        return str(confirmed[0]["email"])

    @asynccontextmanager
    async def _act(self) -> AsyncIterator[None]:
        """One transaction; its mails are pushed after the commit."""
        async with (
            self._database.translated(),
            asyncio.timeout(self._database.limit_s),
            self._submitter.transaction(),
        ):
            yield

    async def _ask(self, mail: Contract[SendAccountMail, Any], account_id: int, address: str) -> None:
        token = await self._new_token(account_id, address)
        await self._submitter.submit([_task(mail, AccountMailKind.CONFIRM, account_id, address, token)])

    async def _ask_for_change(
        self, mail: Contract[SendAccountMail, Any], account_id: int, address: str, held: dict[str, Any]
    ) -> None:
        """Mail to the new address, and to the present one if it is known to be the owner's."""
        (found,) = await self._database.run(_IS_TAKEN, email=address)
        # Stored in any case: it counts against the limits. The token of a taken address is not sent.
        token = await self._new_token(account_id, address)
        if found["taken"]:
            mails = [_task(mail, AccountMailKind.TAKEN, account_id, address)]
        else:
            mails = [_task(mail, AccountMailKind.CONFIRM, account_id, address, token)]
        if held["verified_at"] is not None:
            mails.append(_task(mail, AccountMailKind.CHANGE, account_id, held["email"]))
        await self._submitter.submit(mails)

    async def _new_token(self, account_id: int, address: str) -> str:
        token = secrets.token_urlsafe(32)
        await self._database.run(
            _STORE,
            token_hash=_digest(token),
            user=account_id,
            email=address,
            life_s=CONFIRMATION_LIFE.total_seconds(),
        )
        return token

    async def _record(self, actor: Actor, action: Action, account_id: int) -> None:
        """Without the address: the audit log names no person."""
        await trail.record(self._database, actor, action, Target("account", account_id))

    async def _refuse_too_many(self, account_id: int, address: str) -> None:
        """Raises TooManyConfirmations."""
        await self._database.run(_LOCK_ADDRESS, locks=ADDRESS_LOCKS, email=address)
        (row,) = await self._database.run(_WAIT, user=account_id, email=address, most=MAX_MAILS)
        if row["wait_s"] is not None and row["wait_s"] > 0:
            raise TooManyConfirmations(MAX_MAILS, row["wait_s"])


async def cancel_change(database: Database, account_id: int) -> None:
    """End the questions to other addresses than the account's own."""
    await database.run(_CANCEL_CHANGE, user=account_id)


def _task(
    mail: Contract[SendAccountMail, Any],
    kind: AccountMailKind,
    account_id: int,
    address: str,
    token: str | None = None,
) -> NewTask:
    """It has no owner: an account that could read its task would need no mailbox to confirm an address."""
    params = SendAccountMail(kind=kind, user_id=account_id, address=address, token=token)
    return NewTask(contract=mail, params=params)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
