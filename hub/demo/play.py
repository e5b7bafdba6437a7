"""Playing the story: each notice posted, followed to every inbox, and held against what must become of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from connectors import Published, Refused, SignedNotice, statements
from connectors.ids import now_ms
from connectors.keyfile import PartnerKey
from hub.auditor import Report
from hub.demo import keep
from hub.demo.partners import Partner, Place, until
from hub.demo.show import Stage
from hub.demo.signing import SECOND_KEY, sign
from hub.demo.story import Act, Expected, Post, Rotation, Story


@dataclass(slots=True)
class Result:
    """What happened. differences: each thing that was not as the story expects."""

    directory: Path
    notices: int = 0
    deliveries: int = 0
    undelivered: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)
    audit: Report = field(default_factory=Report)
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        return not self.differences and self.audit.holds

    def summary(self) -> dict[str, Any]:
        """For `-o json` and comity-demo.json."""
        audit = {
            name: getattr(self.audit, name)
            for name in ("entries", "statements", "notices", "deliveries", "acknowledgements")
        }
        return {
            "good": self.good, "notices": self.notices, "deliveries": self.deliveries, "undelivered": self.undelivered,
            "refused": self.refused, "differences": self.differences, "seconds": round(self.seconds, 2),
            "ledger": audit | {"holds": self.audit.holds, "findings": [str(finding) for finding in self.audit.findings]},
            "directory": str(self.directory),
        }  # fmt: skip


class Play:
    """The story as it is played: partners, what was signed so far, and what differed."""

    def __init__(self, story: Story, stage: Stage, result: Result, hub: Place, keys: dict[str, PartnerKey]) -> None:
        self._story, self._stage, self._result = story, stage, result
        self._directory = result.directory
        self._partners: dict[str, Partner] = {}
        self._signed: dict[str, SignedNotice] = {}
        self._receipts: dict[str, str] = {}
        for key in keys.values():
            self._partners[key.agency] = Partner.open(hub, key, self._directory)

    async def all(self) -> None:
        for agency in self._story.agencies:
            if agency.role == "partner":
                self._partners[agency.id].subscribe()
        for step in self._story.steps:
            match step:
                case Act():
                    self._stage.act(step)
                case Rotation():
                    await self._rotate(step)
                case Post():
                    await self._post(step)
        await self._nothing_else()
        for post in self._story.posts:
            if post.explain is not None:
                await self._explain(post, post.explain)
        await self._prove(next(post for post in self._story.posts if post.deliveries))

    async def close(self) -> None:
        for partner in self._partners.values():
            await partner.close()

    async def _post(self, post: Post) -> None:
        self._stage.post(post)
        sender = self._partners[post.sender]
        raw = sign(post, sender.key, sender.old, self._signed)
        self._result.notices += 1
        keep.keep_notice(self._directory, self._result.notices, post.id, raw)
        try:
            # What is bad on purpose goes over HTTP even if the partner is on Kafka: there its refusal is heard at once.
            published = await (sender.careless if post.fault else sender.carrier).publish(raw)
        except Refused as refused:
            self._refused(post, refused)
            return
        if post.refused is not None:
            self._differs(f"{post.id} was accepted; it had to be refused: {post.refused}")
        if post.fault == "repeats":
            self._repeated(post, published)
            return
        self._signed[post.id] = SignedNotice.read(raw)
        self._receipts[post.id] = published.receipt
        await self._follow(post, sender, published)

    def _refused(self, post: Post, refused: Refused) -> None:
        self._stage.refused(refused.code, refused.detail)
        self._result.refused[refused.code] = self._result.refused.get(refused.code, 0) + 1
        if refused.code != post.refused:
            self._differs(
                f"{post.id} was refused: {refused.code}; expected was {post.refused or 'that it is accepted'}"
            )

    def _repeated(self, post: Post, published: Published) -> None:
        # Over Kafka there was no receipt: the brokers took the first copy, and the hub judged it later.
        if self._receipts[post.of or ""] in ("", published.receipt):
            self._stage.repeated()
        else:
            self._differs(f"{post.id}: the same bytes got another receipt")

    async def _follow(self, post: Post, sender: Partner, published: Published) -> None:
        """Until the notice is judged and every recipient has it verified and stored; then compare."""

        async def judged() -> dict[str, Any] | None:
            status = await sender.client.status(published.jti)
            return status if status["status"] != "pending" else None

        status = await until(judged, f"{post.id} is judged")
        got = []
        for each in status["deliveries"]:
            stored = await self._partners[each["recipient"]].stored(post.sender, each["number"])
            agreement, _, clause = stored.headers["ce_agreement"].partition("/")
            withheld = tuple(sorted(name for name in stored.headers["ce_withheld"].split(",") if name))
            reason = stored.headers["ce_reason"]
            name = f"{agreement.partition('@')[0]}/{clause}"
            self._stage.delivered(each["recipient"], f"{agreement}/{clause}", withheld, reason)
            leaked = set(withheld) & set(stored.notice.data)
            if leaked:
                self._differs(f"{post.id}: {each['recipient']} can read {', '.join(sorted(leaked))}")
            got.append(Expected(each["recipient"], name, withheld, reason == "recall"))
        self._result.deliveries += len(got)
        if not got:
            self._result.undelivered += 1
            self._stage.nobody()
        for missing in set(post.deliveries) - set(got):
            self._differs(f"{post.id}: missing {missing}")
        for extra in set(got) - set(post.deliveries):
            self._differs(f"{post.id}: not expected {extra}")

    async def _rotate(self, step: Rotation) -> None:
        """A new key signed in by the old one; then the old one is revoked, as of now."""
        partner = self._partners[step.agency]
        old, new = partner.key, PartnerKey.generate(step.agency, SECOND_KEY)
        new.save(self._directory / "keys" / f"{step.agency}.{SECOND_KEY}.key.json")
        await partner.client.statement(statements.add_key(old, new))
        await partner.take_up(new)
        await partner.client.statement(statements.revoke_key(new, old.kid, step.reason, compromised_from=now_ms()))
        self._stage.rotation(step, new.kid, old.kid)

    async def _nothing_else(self) -> None:
        """Nobody has anything beyond the story, nothing failed to verify, everything is acknowledged in the ledger."""
        expected = sum(len(post.deliveries) for post in self._story.posts)
        stored = 0
        for agency, partner in self._partners.items():
            await partner.look()
            keep.keep_deliveries(self._directory, agency, partner.received.values())
            stored += len(partner.received)
            for bad in await partner.inbox.quarantine():
                self._differs(f"{agency} could not verify delivery {bad.offset}: {bad.reason}: {bad.detail}")
        if stored != expected:
            self._differs(f"{stored} deliveries are stored, {expected} were expected")
        for post in self._story.posts:
            if post.deliveries:
                await until(lambda post=post: self._acknowledged(post), f"{post.id} is acknowledged")  # type: ignore[misc]

    async def _acknowledged(self, post: Post) -> bool | None:
        status = await self._partners[post.sender].client.status(self._signed[post.id].jti)
        return all(each["acknowledged"] for each in status["deliveries"]) or None

    async def _explain(self, post: Post, agency: str) -> None:
        answer = await self._partners[post.sender].client.explain(self._signed[post.id].jti, agency)
        self._stage.explanation(post, agency, answer["reasons"])
        if answer["granted"] or not answer["reasons"]:
            self._differs(f"{post.id}: no reason why {agency} does not receive it")

    async def _prove(self, post: Post) -> None:
        recipient = self._partners[post.deliveries[0].recipient]
        proof = await recipient.client.proof(self._signed[post.id].digest)
        delivery = proof.delivery or {}
        clause = f"{delivery.get('agreement')}/{delivery.get('clause')}"
        self._stage.proof(recipient.agency, proof.index, proof.checkpoint.size, clause)
        if clause != post.deliveries[0].clause or proof.sealed is not None:
            self._differs(f"{post.id}: the proof of {recipient.agency} is not of its own delivery alone")

    def _differs(self, what: str) -> None:
        self._stage.difference(what)
        self._result.differences.append(what)
