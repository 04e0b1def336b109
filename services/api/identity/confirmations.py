"""Confirms mail addresses. An address is verified when someone uses the link in a mail sent to it.

Each operation is one transaction, which also submits the mails as tasks. The worker sends them; see
shared/contracts/account_mail.py. If no application sends mail, addresses count as confirmed.
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
from shared.new_task import NewTask
from shared.submission import Submitter

#: Maximum number of confirmation mails per hour for one account, and to one address from all
#: accounts together.
MAX_MAILS: Final = 3
#: First key of the Postgres advisory locks that let only one request at a time confirm a given
#: address.
ADDRESS_LOCKS: Final = 0x6F660001

#: Locks the row of the account. Every operation takes this lock first, so that two operations
#: cannot deadlock.
_HOLD = Statement("SELECT email, verified_at FROM account WHERE id = :user FOR UPDATE")
_HOLD_BY_TOKEN = Statement("""
    SELECT id FROM account
    WHERE id = (SELECT "user" FROM account_confirmation WHERE token_hash = :token_hash) FOR UPDATE
""")
_LOCK_ADDRESS = Statement("SELECT pg_advisory_xact_lock(:locks, hashtext(:email))")

#: Seconds until another confirmation mail may be sent to the account and the address; null if it
#: may be sent now.
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

#: Ends the open confirmations of an account, when it asks for another address or confirms one.
_END_OPEN = Statement("""
    UPDATE account_confirmation SET used_at = now() WHERE "user" = :user AND used_at IS NULL
""")

_CANCEL_CHANGE = Statement("""
    UPDATE account_confirmation AS c SET used_at = now() FROM account AS a
    WHERE a.id = :user AND c."user" = a.id AND c.email <> a.email AND c.used_at IS NULL
""")

#: Confirms an address. If the account is inactive, the token is not accepted and nothing changes.
_CONFIRM = Statement("""
    UPDATE account AS a SET email = c.email, verified_at = now() FROM account_confirmation AS c
    WHERE c.token_hash = :token_hash AND c.used_at IS NULL AND c.expires_at > now()
      AND a.id = c."user" AND a.is_active
    RETURNING a.id, a.email
""")

_IS_TAKEN = Statement("SELECT EXISTS (SELECT FROM account WHERE email = :email) AS taken")
_MOVE = Statement("UPDATE account SET email = :email, verified_at = now() WHERE id = :user")


class Confirmations:
    """Registers accounts, sends confirmation mails, and accepts the tokens in them."""

    def __init__(
        self, database: Database, submitter: Submitter, mail: Contract[SendAccountMail, Any] | None
    ) -> None:
        """`mail` is the contract of the task that sends account mails. It is None if no application
        sends mail.
        """
        self._database = database
        self._submitter = submitter
        self._mail = mail

    async def sign_up(self, new: NewAccount, actor: Actor) -> Account | None:
        """Store an account and send the confirmation mail. Returns None if the address is taken."""
        async with self._act():
            account = await accounts.store(self._database, new, actor, verified=self._mail is None)
            if account is not None and self._mail is not None:
                await self._ask(self._mail, account.id, account.email)
        return account

    async def ask_again(self, account_id: int, actor: Actor) -> bool:
        """Send the confirmation mail again. Returns False if no mail is needed, because the address
        is now verified.

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
        """Send a confirmation mail to a new address. The new address replaces the old one when the
        link is used. Returns False if no mail is needed and the address is changed already.

        If another account has the address, the same rows are written, the same number of mails is
        sent and the answer is the same; only the text of the mail differs. Raises InvalidFields,
        TooManyConfirmations or, if no mail is needed, AddressTaken.
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
        """Verify the address to which this token was sent, store it as the account's address and
        return it.

        Raises UnknownConfirmation, or AddressTaken if another account has taken the address in the
        meantime.
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
        """Run one operation as a transaction. After the commit, the mail tasks that it submitted
        are sent to workers.
        """
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
        """Send a mail about the change to the new address, and to the current one if it is
        verified.
        """
        (found,) = await self._database.run(_IS_TAKEN, email=address)
        # The row is stored even if the address is taken, because it counts toward the limits. In
        # this case, the mail does not contain the token.
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
        """Record the action in the audit log, without the mail address, because the audit log
        contains no personal data.
        """
        await trail.record(self._database, actor, action, Target("account", account_id))

    async def _refuse_too_many(self, account_id: int, address: str) -> None:
        """Raise TooManyConfirmations if the account or the address has already received the maximum
        number of mails.
        """
        await self._database.run(_LOCK_ADDRESS, locks=ADDRESS_LOCKS, email=address)
        (row,) = await self._database.run(_WAIT, user=account_id, email=address, most=MAX_MAILS)
        if row["wait_s"] is not None and row["wait_s"] > 0:
            raise TooManyConfirmations(MAX_MAILS, row["wait_s"])


async def cancel_change(database: Database, account_id: int) -> None:
    """End the account's open confirmations of all addresses except its current one."""
    await database.run(_CANCEL_CHANGE, user=account_id)


def _task(
    mail: Contract[SendAccountMail, Any],
    kind: AccountMailKind,
    account_id: int,
    address: str,
    token: str | None = None,
) -> NewTask:
    """Build the task that sends a confirmation mail.

    The task has no owner. An owner could read the task and its token, and could thus confirm an
    address without access to the mailbox.
    """
    params = SendAccountMail(kind=kind, user_id=account_id, address=address, token=token)
    return NewTask(contract=mail, params=params)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
