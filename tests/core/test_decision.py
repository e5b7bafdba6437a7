"""Who receives what: against an oracle that shares no code, and the properties that must hold whatever the agreements say."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.core.decision import Received, Seen, decide, explain
from hub.core.registry import Registry
from schemas.notice import validate, withholdable
from tests.core import oracle
from tests.world import T0, World, agreement, clause

AGENCIES = ["at-cert", "ch-ncsc", "de-bsi", "fr-anssi", "jp-jpcert"]
TLPS = list(oracle.TLP)

conditions = st.one_of(
    st.builds(lambda v: {"field": "severity", "op": "at_least", "value": v}, st.sampled_from(oracle.SEVERITY)),
    st.builds(
        lambda v: {"field": "severity", "op": "one_of", "value": v},
        st.lists(st.sampled_from(oracle.SEVERITY), min_size=1, max_size=2, unique=True),
    ),
    st.builds(lambda v: {"field": "sectors", "op": "includes", "value": v}, st.sampled_from(["energy", "health"])),
    st.builds(lambda v: {"field": "cves", "op": "starts_with", "value": v}, st.sampled_from(["CVE-2024", "CVE-2025"])),
)


@st.composite
def clauses(draw: st.DrawFn, id_: str, parties: list[str]) -> dict:
    some = st.lists(st.sampled_from(parties), min_size=1, max_size=len(parties), unique=True)
    types = draw(st.sampled_from([[], ["threat.cyber.v1"], ["threat.terrorism.v1"]]))
    areas = draw(st.sampled_from([[], ["security"], ["trade"], ["security", "trade"]])) or (
        [] if types else ["security"]
    )
    only_cyber = (areas == [] and types == ["threat.cyber.v1"]) or areas == ["security"]
    return clause(
        id_, draw(some), draw(some), types=types, areas=areas, ceiling=draw(st.sampled_from(TLPS)),
        when=draw(st.lists(conditions, max_size=2)) if only_cyber else [],
        withhold=draw(st.sampled_from([[], ["source_detail"]])) if only_cyber else [],
    )  # fmt: skip


@st.composite
def agreement_sets(draw: st.DrawFn) -> list[dict]:
    found = []
    for number in range(draw(st.integers(1, 4))):
        parties = draw(st.lists(st.sampled_from(AGENCIES), min_size=2, max_size=5, unique=True))
        inner = [draw(clauses(f"c{n}", parties)) for n in range(draw(st.integers(1, 3)))]
        window = draw(st.sampled_from([("2020", "2090"), ("2020", "2021"), ("2089", "2090")]))
        in_force = {"from": f"{window[0]}-01-01T00:00:00Z", "until": f"{window[1]}-01-01T00:00:00Z"}
        found.append(agreement(f"agreement-{number}", parties, inner, in_force=in_force))
    return found


@st.composite
def notices(draw: st.DrawFn) -> dict:
    data = {"kind": "vulnerability", "title": "t", "severity": draw(st.sampled_from(oracle.SEVERITY))}
    data |= draw(st.sampled_from([{}, {"source_detail": "s"}]))
    data |= draw(st.sampled_from([{}, {"sectors": ["energy"]}, {"sectors": ["water", "health"]}]))
    data |= draw(st.sampled_from([{}, {"cves": ["CVE-2024-1111"]}, {"cves": ["CVE-2021-1111", "CVE-2025-2222"]}]))
    rel_to = draw(st.none() | st.lists(st.sampled_from(AGENCIES), min_size=1, max_size=3, unique=True))
    return {"iss": draw(st.sampled_from(AGENCIES)), "tlp": draw(st.sampled_from(TLPS)), "data": data, "rel_to": rel_to}


PLAIN = World(*AGENCIES)


def world_with(agreements: list[dict]) -> World:
    """A world of its own, from the shared enrolments: signing them anew for each example would only cost time."""
    world = World.__new__(World)
    world.registry, world.at, world.grace, world.events = Registry(), T0, 0, []
    world._ids = count(1000)
    for event in PLAIN.events:
        world.registry.apply(event)
    for document in agreements:
        world.publish(document)
    return world


def claims_of(world: World, change: dict) -> dict:
    return world.claims(**{"iss": change["iss"]} | change)


def plain(decision) -> dict:
    return {g.recipient: (g.agreement, g.version, g.clause, list(g.withheld)) for g in decision.grants}


@settings(max_examples=150, deadline=None)
@given(agreement_sets(), notices())
def test_decide_agrees_with_the_oracle(agreements: list[dict], change: dict) -> None:
    world = world_with(agreements)
    claims = claims_of(world, change)
    decision = decide(validate(claims), world.registry.view(), T0)
    assert plain(decision) == oracle.grants(agreements, claims, T0, set(withholdable(claims["type"])))


@settings(max_examples=60, deadline=None)
@given(agreement_sets(), notices())
def test_explain_and_decide_say_the_same_of_every_agency(agreements: list[dict], change: dict) -> None:
    world = world_with(agreements)
    notice = validate(claims_of(world, change))
    view = world.registry.view()
    granted = {grant.recipient: grant for grant in decide(notice, view, T0).grants}
    for agency in AGENCIES:
        why = explain(notice, view, T0, agency)
        assert why.granted == granted.get(agency)
        assert bool(why.reasons) == (agency not in granted)


@settings(max_examples=60, deadline=None)
@given(agreement_sets(), notices(), st.randoms())
def test_the_order_of_agreements_is_irrelevant_and_deciding_is_deterministic(agreements, change, shuffler) -> None:
    one = world_with(agreements)
    claims = claims_of(one, change)
    shuffled = list(agreements)
    shuffler.shuffle(shuffled)
    other = world_with(shuffled)
    first = decide(validate(claims), one.registry.view(), T0)
    assert first == decide(validate(claims), one.registry.view(), T0)
    assert first.grants == decide(validate(claims), other.registry.view(), T0).grants


@settings(max_examples=60, deadline=None)
@given(agreement_sets(), notices(), st.data())
def test_a_further_clause_never_takes_a_grant_away_nor_withholds_more(agreements, change, data) -> None:
    claims = claims_of(PLAIN, change)
    before = decide(validate(claims), world_with(agreements).registry.view(), T0)
    grown = [dict(document) for document in agreements]
    grown[0]["clauses"] = [*grown[0]["clauses"], data.draw(clauses("c9", grown[0]["parties"]))]
    after = {grant.recipient: grant for grant in decide(validate(claims), world_with(grown).registry.view(), T0).grants}
    for grant in before.grants:
        assert len(after[grant.recipient].withheld) <= len(grant.withheld)


@settings(max_examples=40, deadline=None)
@given(agreement_sets(), notices())
def test_a_further_party_never_takes_a_grant_away(agreements: list[dict], change: dict) -> None:
    claims = claims_of(PLAIN, change)
    before = decide(validate(claims), world_with(agreements).registry.view(), T0)
    grown = [document | {"parties": sorted(AGENCIES)} for document in agreements]
    assert decide(validate(claims), world_with(grown).registry.view(), T0).grants == before.grants


class TestTime:
    def test_an_agreement_grants_from_its_first_instant_to_before_its_last(self) -> None:
        world = world_with([agreement("a-1", AGENCIES[:2], [clause("c1", ["at-cert"], ["ch-ncsc"])])])
        start, until = oracle.ms("2020-01-01T00:00:00Z"), oracle.ms("2090-01-01T00:00:00Z")
        world.registry.agreements["a-1"][0].effective = 0
        notice = validate(world.claims("at-cert", exp=int(until // 1000) + 10))
        view = world.registry.view()
        assert not decide(notice, view, int(start) - 1).grants
        assert decide(notice, view, int(start)).grants
        assert decide(notice, view, int(until) - 1).grants
        assert not decide(notice, view, int(until)).grants

    def test_an_expired_notice_goes_to_nobody(self) -> None:
        world = world_with([agreement("a-1", AGENCIES[:2], [clause("c1", ["at-cert"], ["ch-ncsc"])])])
        notice = validate(world.claims("at-cert", exp=T0 // 1000 + 5))
        assert decide(notice, world.registry.view(), T0 + 4_999).grants
        assert not decide(notice, world.registry.view(), T0 + 5_000).grants
        assert explain(notice, world.registry.view(), T0 + 5_000, "ch-ncsc").reasons[0].code == "expired"

    def test_a_view_of_the_past_knows_nothing_of_what_came_later(self) -> None:
        world = world_with([agreement("a-1", AGENCIES[:2], [clause("c1", ["at-cert"], ["ch-ncsc"])])])
        notice = validate(world.claims("at-cert"))
        then = world.registry.position
        world.record(
            {"statement": "agreement.terminate", "agreement": "a-1", "party": "ch-ncsc", "reason": "over"}, "ch-ncsc/1"
        )
        assert decide(notice, world.registry.view(then), T0).grants
        assert not decide(notice, world.registry.view(), T0).grants
        assert explain(notice, world.registry.view(), T0, "ch-ncsc").reasons[0].code == "terminated"
        assert not decide(notice, world.registry.view(then - 1), T0).grants

    def test_a_new_version_replaces_the_old_from_its_own_start(self) -> None:
        world = world_with([agreement("a-1", AGENCIES[:2], [clause("c1", ["at-cert"], ["ch-ncsc"])])])
        later = {"from": "2030-01-01T00:00:00Z", "until": "2090-01-01T00:00:00Z"}
        world.publish(
            agreement("a-1", AGENCIES[:2], [clause("c2", ["at-cert"], ["ch-ncsc"])], version=2, in_force=later)
        )
        notice = validate(world.claims("at-cert", exp=4_000_000_000))
        change = int(oracle.ms(later["from"]))
        view = world.registry.view()
        assert [g.clause for g in decide(notice, view, change - 1).grants] == ["c1"]
        assert [g.clause for g in decide(notice, view, change).grants] == ["c2"]
        assert {r.code for r in explain(notice, view, change, "de-bsi").reasons} == {"no-agreement"}

    def test_an_event_counts_from_its_effective_moment(self) -> None:
        world = World(*AGENCIES[:2], grace=5_000)
        world.publish(agreement("a-1", AGENCIES[:2], [clause("c1", ["at-cert"], ["ch-ncsc"])]))
        notice = validate(world.claims("at-cert"))
        assert not decide(notice, world.registry.view(), T0 + 4_999).grants
        assert decide(notice, world.registry.view(), T0 + 5_000).grants


class TestRecall:
    """A cancel goes to those the clauses name, and to everyone who received what it cancels."""

    world = world_with(
        [agreement("a-1", AGENCIES[:3], [clause("c1", ["at-cert"], ["ch-ncsc"], withhold=["source_detail"])])]
    )
    original = Seen(
        b"d" * 32, T0 // 1000 + 100, (Received("de-bsi", "old", 3, "c7"), Received("ch-ncsc", "old", 3, "c7"))
    )

    def grants(self, at: int = T0, **change) -> dict:
        claims = self.world.claims("at-cert", **{"cancels": self.world.id()} | change)
        return {g.recipient: g for g in decide(validate(claims), self.world.registry.view(), at, self.original).grants}

    def test_it_chases_earlier_recipients_under_the_clause_of_their_delivery(self) -> None:
        recall = self.grants()["de-bsi"]
        assert (recall.agreement, recall.version, recall.clause, recall.reason) == ("old", 3, "c7", "recall")
        assert recall.withheld == ("source_detail",)

    def test_a_clause_goes_before_a_recall(self) -> None:
        assert self.grants()["ch-ncsc"].reason == "clause"

    def test_rel_to_does_not_hide_a_recall(self) -> None:
        found = self.grants(rel_to=["fr-anssi"])
        assert {name: grant.reason for name, grant in found.items()} == {"de-bsi": "recall", "ch-ncsc": "recall"}

    def test_it_ends_with_the_original(self) -> None:
        assert "de-bsi" in self.grants(at=T0 + 99_999)
        assert "de-bsi" not in self.grants(at=T0 + 100_000)

    def test_an_update_follows_the_clauses_alone(self) -> None:
        assert set(self.grants(cancels=None, updates=self.world.id())) == {"ch-ncsc"}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"tlp": "TLP:RED"}, "tlp-above-ceiling"),
        ({"rel_to": ["fr-anssi"]}, "not-in-rel-to"),
        ({"data": {"kind": "vulnerability", "title": "t", "severity": "low"}}, "condition-failed"),
        ({"type": "trade.measure.v1"}, "type-not-covered"),
    ],
)
def test_explain_names_the_objection(change: dict, code: str) -> None:
    when = [{"field": "severity", "op": "at_least", "value": "high"}]
    world = world_with([
        agreement("a-1", AGENCIES[:2], [clause("c1", ["at-cert"], ["ch-ncsc"], ceiling="TLP:AMBER", when=when)])
    ])  # fmt: skip
    claims = world.claims("at-cert", **change)
    notice = validate(claims) if "type" not in change else validate(world.claims("at-cert")).model_copy(update=change)
    assert code in [reason.code for reason in explain(notice, world.registry.view(), T0, "ch-ncsc").reasons]


def test_explain_names_who_is_not_in_the_clause() -> None:
    world = world_with([agreement("a-1", AGENCIES[:3], [clause("c1", ["at-cert"], ["ch-ncsc"])])])
    view = world.registry.view()
    assert explain(validate(world.claims("at-cert")), view, T0, "de-bsi").reasons[0].code == "recipient-not-in-clause"
    assert explain(validate(world.claims("de-bsi")), view, T0, "ch-ncsc").reasons[0].code == "sender-not-in-clause"
    assert explain(validate(world.claims("de-bsi")), view, T0, "de-bsi").reasons[0].code == "is-sender"
