"""The address of a Kafka cluster: what it means, and what is said of one that means nothing."""

import pytest

from hub.core.address import AddressError, KafkaAddress


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("kafka://127.0.0.1:9092", KafkaAddress(("127.0.0.1:9092",))),
        ("kafka://a.example:9092,[::1]:9093/", KafkaAddress(("a.example:9092", "[::1]:9093"))),
        ("kafka+ssl://b:1?ca=ca.pem", KafkaAddress(("b:1",), "SSL", ca="ca.pem")),
        (
            "kafka+ssl://b:1?ca=c%26a.pem&cert=x.pem&key=x.key&agencies=all.json",
            KafkaAddress(("b:1",), "SSL", ca="c&a.pem", cert="x.pem", key="x.key", agencies="all.json"),
        ),
        (
            "kafka+sasl://us-cisa@b:65535?ca=/r/ca.pem&password-file=/r/p&api=https://hub.example",
            KafkaAddress(
                ("b:65535",), "SASL_SSL", "us-cisa", ca="/r/ca.pem", password_file="/r/p", api="https://hub.example"
            ),
        ),
    ],
)
def test_an_address_says_where_and_how(text, wanted):
    assert KafkaAddress.parse(text) == wanted


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "no address"),
        ("http://b:1", "no address"),
        ("kafka:b:1", "no address"),
        ("kafka://", "no address"),
        ("kafka://b", "no broker"),
        ("kafka://b:0", "no broker"),
        ("kafka://b:65536", "no broker"),
        ("kafka://b:1,", "no broker"),
        ("kafka://u@b:1", "takes no user"),
        ("kafka://b:1?ca=x", "no option 'ca'"),
        ("kafka+ssl://b:1?key=x", "goes with cert"),
        ("kafka+ssl://b:1?ca=", "is empty"),
        ("kafka+ssl://b:1?ca=a&ca=b", "twice"),
        ("kafka+ssl://b:1?ca", "cannot be read"),
        ("kafka+sasl://b:1?password-file=p", "needs a user"),
        ("kafka+sasl://u@b:1", "needs password-file"),
        ("kafka+sasl://u:secret@b:1?password=x", "no option 'password'"),
    ],
)
def test_what_is_no_address_is_refused_with_a_reason(text, fault):
    with pytest.raises(AddressError, match=fault):
        KafkaAddress.parse(text)


def test_an_address_shown_tells_no_names():
    shown = str(KafkaAddress.parse("kafka+sasl://us-cisa@b:1,c:2?password-file=/run/secret"))
    assert shown == "kafka+sasl://b:1,c:2"
