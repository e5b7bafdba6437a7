"""A history of the hub, and every way to spoil it that the checker's invariants name."""

from __future__ import annotations

import dataclasses
import json
import struct
from collections.abc import Callable

from hub.core.checkpoint import Checkpoint, Signer, sign_checkpoint
from hub.notary import CHECKPOINTS
from tests.faults.checker import Checker, Published
from tests.faults.parsing import REGISTRY, REQUESTS, digest_of
from tests.faults.reading import STATE, Seen, Topics
from tests.faults.story import AT, DE, DELIVERIES, LEDGER, NOTICES
from tests.faults.tree import check_tree
from tests.world import key_of

ORIGIN = "comity.test/ledger"
SIGNER = Signer(ORIGIN, key_of("hub/1"))
PUBLIC = key_of("hub/1").public_key().public_bytes_raw()


@dataclasses.dataclass
class History:
    published: Published
    topics: Topics

    def wrong(self, lacking: str = "nothing") -> list[str]:
        tree = check_tree(self.topics[LEDGER], self.topics[CHECKPOINTS], ORIGIN, PUBLIC, complete=lacking == "nothing")
        return Checker(self.published, self.topics, lacking).check() + tree


def setting(topic: str, offset: int) -> bytes:
    name, value = f"\x00position/{topic}".encode(), b"%d" % offset
    return struct.pack(">Ii", len(name), len(value)) + name + value


def last(history: History, topic: str) -> Seen:
    return history.topics[topic][-1]


def change(history: History, topic: str, index: int, **fields: object) -> None:
    history.topics[topic][index] = dataclasses.replace(history.topics[topic][index], **fields)


def reseal(value: bytes, edit: Callable[[dict], None]) -> bytes:
    leaf, _, sealed = value.partition(b"\n")
    said = json.loads(sealed)
    edit(said)
    return leaf + b"\n" + json.dumps(said).encode()


def entry_with(history: History, predicate: Callable[[dict], bool]) -> int:
    """The last ledger entry whose sealed part is so."""
    ledger = history.topics[LEDGER]
    return max(n for n, seen in enumerate(ledger) if predicate(json.loads(seen.value.partition(b"\n")[2])))


def lose_a_message(history: History) -> None:
    history.topics[NOTICES + AT].pop()


def double_a_message(history: History) -> None:
    seen = last(history, NOTICES + AT)
    history.topics[NOTICES + AT].append(dataclasses.replace(seen, offset=seen.offset + 1))


def lose_an_entry(history: History) -> None:
    del history.topics[LEDGER][entry_with(history, lambda said: said.get("deliveries") == [] and "reason" not in said)]


def double_an_entry(history: History) -> None:
    found = history.topics[LEDGER][entry_with(history, lambda said: said.get("reason") == "signature")]
    history.topics[LEDGER].append(found)


def answer_twice(history: History) -> None:
    """An entry about a message whose answer was on record: dedupe is off."""
    digests = [digest_of(seen.value) for seen in history.topics[NOTICES + AT]]
    again = next(n for n, digest in enumerate(digests) if digest in digests[:n])
    place = {"topic": NOTICES + AT, "offset": history.topics[NOTICES + AT][again].offset}
    index = entry_with(history, lambda said: "source" in said)
    value = reseal(history.topics[LEDGER][index].value, lambda said: said["source"].update(place))
    history.topics[LEDGER].append(Seen(10**6, value))


def give_to_a_stranger(history: History) -> None:
    index = entry_with(history, lambda said: said.get("deliveries") == [] and "reason" not in said)
    stray = {"recipient": DE, "agreement": "x", "version": 1, "clause": "c", "withheld": [], "number": 999,
             "reason": "clause", "slot": 0}  # fmt: skip
    value = reseal(history.topics[LEDGER][index].value, lambda said: said["deliveries"].append(stray))
    change(history, LEDGER, index, value=value)


def forget_a_recipient(history: History) -> None:
    index = entry_with(history, lambda said: len(said.get("deliveries", [])) > 1)
    change(
        history, LEDGER, index, value=reseal(history.topics[LEDGER][index].value, lambda said: said["deliveries"].pop())
    )


def say_another_clause(history: History) -> None:
    index = entry_with(history, lambda said: bool(said.get("deliveries")))
    value = reseal(history.topics[LEDGER][index].value, lambda said: said["deliveries"][0].update(clause="other"))
    change(history, LEDGER, index, value=value)


def show_what_is_withheld(history: History) -> None:
    found = history.topics[DELIVERIES + DE]
    index = max(n for n, seen in enumerate(found) if seen.headers["ce_withheld"])
    change(history, DELIVERIES + DE, index, value=history.published.notes[digest_of(found[index].value)].raw)


def lose_a_delivery(history: History) -> None:
    history.topics[DELIVERIES + DE].pop()


def deliver_twice(history: History) -> None:
    history.topics[DELIVERIES + DE].append(last(history, DELIVERIES + DE))


def skip_a_number(history: History) -> None:
    seen = last(history, DELIVERIES + DE)
    change(history, DELIVERIES + DE, -1, headers=seen.headers | {"ce_number": "1000"})


def swap_two_deliveries(history: History) -> None:
    found = history.topics[DELIVERIES + DE]
    sources = [seen.headers["ce_source"] for seen in found]
    first = next(n for n in range(len(found)) if sources[n] in sources[n + 1 :])
    second = sources.index(sources[first], first + 1)
    found[first], found[second] = found[second], found[first]


def go_back(history: History) -> None:
    history.topics[f"{STATE}router-0"].append(Seen(10**6, setting(NOTICES + AT, 3)))


def run_ahead(history: History) -> None:
    """The position passes a message that has no entry."""
    lose_an_entry(history)


def end_a_key_earlier(history: History) -> None:
    """What was accepted should have been refused: a router had not heard of the revocation."""
    change(history, REGISTRY, -1, value=earlier(last(history, REGISTRY).value, 3_600_000))


def begin_a_key_later(history: History) -> None:
    change(history, REGISTRY, -2, value=earlier(history.topics[REGISTRY][-2].value, -3_600_000))


def earlier(event: bytes, ms: int) -> bytes:
    said = json.loads(event)
    return json.dumps(said | {"effective": said["effective"] - ms}).encode()


def lose_an_event(history: History) -> None:
    history.topics[REGISTRY].pop()


def leave_a_request(history: History) -> None:
    seen = last(history, REQUESTS)
    history.topics[REQUESTS].append(dataclasses.replace(seen, offset=seen.offset + 1))


def stop_short(history: History) -> None:
    end = last(history, NOTICES + AT).offset
    mine = history.topics[f"{STATE}router-0"]
    history.topics[f"{STATE}router-0"] = [seen for seen in mine if seen.value != setting(NOTICES + AT, end)]


def resign(history: History, size: int, root: bytes) -> None:
    note = sign_checkpoint(Checkpoint(ORIGIN, size, root), SIGNER)
    history.topics[CHECKPOINTS].append(Seen(10**6, note))


def sign_another_root(history: History) -> None:
    resign(history, len(history.topics[LEDGER]), bytes(32))


def sign_too_much(history: History) -> None:
    resign(history, len(history.topics[LEDGER]) + 5, bytes(32))


def sign_a_size_again(history: History) -> None:
    history.topics[CHECKPOINTS].append(last(history, CHECKPOINTS))


def rewrite_the_ledger(history: History) -> None:
    seen = history.topics[LEDGER][2]
    change(history, LEDGER, 2, value=seen.value.replace(b'"at":', b'"at":1', 1))


def forge_a_signature(history: History) -> None:
    seen = last(history, CHECKPOINTS)
    change(history, CHECKPOINTS, -1, value=seen.value[:-8] + b"AAAAAA==")


def leave_the_end_unsigned(history: History) -> None:
    history.topics[CHECKPOINTS].pop()


FRAUDS = {
    lose_a_message: "1: acknowledged and lost",
    double_a_message: "was not put there so often",
    lose_an_entry: "has 0 entries",
    double_an_entry: "has 2 entries",
    answer_twice: "was answered before, and has an entry of its own",
    give_to_a_stranger: "2: .* is not entitled, and has it",
    forget_a_recipient: "1: .* is entitled, and does not have it",
    say_another_clause: "2: .* entitled is",
    show_what_is_withheld: "2: .* discloses",
    lose_a_delivery: "3: .* it was not delivered",
    deliver_twice: "3: .* no ledger entry says so",
    skip_a_number: "4: .* number 1000 comes behind",
    swap_two_deliveries: "4: .* was delivered behind",
    go_back: "5: .* went back",
    run_ahead: "5: .* no entry explains",
    end_a_key_earlier: "1: .*r2.* says None, not key-revoked",
    begin_a_key_later: "1: .*r2.* says None, not unknown-key",
    lose_an_event: "3: the registry has",
    leave_a_request: "7: comity.requests ends",
    stop_short: "7: .* its position is",
    sign_another_root: "6: .* another root for|6: .* has not the root",
    sign_too_much: "6: .* the ledger has",
    sign_a_size_again: "6: .* the one before",
    rewrite_the_ledger: "6: .* has not the root",
    forge_a_signature: "6: .* is not signed",
    leave_the_end_unsigned: "7: the ledger has .* the last checkpoint covers",
}
