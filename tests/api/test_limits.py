"""Token buckets and waiting places, without a hub."""

import pytest

from hub.api.limits import Buckets, Waiting
from hub.api.problems import Problem


def test_a_bucket_gives_its_burst_then_its_rate():
    buckets = Buckets(rate=8, burst=3)
    for _ in range(3):
        buckets.take("at-cert", 100.0)
    with pytest.raises(Problem) as refused:
        buckets.take("at-cert", 100.0)
    assert refused.value.kind.status == 429 and refused.value.retry_after == 1
    buckets.take("at-cert", 100.125)
    with pytest.raises(Problem):
        buckets.take("at-cert", 100.125)


def test_one_client_does_not_drain_anothers_bucket():
    buckets = Buckets(rate=1, burst=1)
    buckets.take("at-cert", 0.0)
    buckets.take("ch-ncsc", 0.0)


def test_a_bucket_never_holds_more_than_its_burst():
    buckets = Buckets(rate=1000, burst=2)
    buckets.take("at-cert", 0.0)
    for _ in range(2):
        buckets.take("at-cert", 3600.0)
    with pytest.raises(Problem):
        buckets.take("at-cert", 3600.0)


def test_retry_after_is_how_long_the_next_token_takes():
    buckets = Buckets(rate=0.1, burst=1)
    buckets.take("at-cert", 0.0)
    with pytest.raises(Problem) as refused:
        buckets.take("at-cert", 0.0)
    assert refused.value.retry_after == 10


def test_waiting_places_are_given_back_also_after_an_error():
    waiting = Waiting(1)
    with pytest.raises(RuntimeError), waiting.hold("at-cert"):
        raise RuntimeError
    with waiting.hold("at-cert"):
        with pytest.raises(Problem), waiting.hold("at-cert"):
            pass
        with waiting.hold("ch-ncsc"):
            pass
