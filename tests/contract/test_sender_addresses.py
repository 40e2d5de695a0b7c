"""Where HttpSender never goes: by the URL, by what a name leads to, by what a receiver answers."""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Callable
from typing import Any

import pytest

from shared.errors import InvalidPayload
from shared.ports import Sent
from shared.providers.addresses import is_public
from shared.providers.outbound import HttpSender
from tests.receivers import Internet, named, receiving

STRICT = HttpSender(allow_http=False, allow_private=False)
LOCAL = HttpSender(allow_http=True, allow_private=True)
BLOCKED = Sent(None, "blocked_address")

REFUSED = {
    "this host": ["0.0.0.0", "0.1.2.3", "::"],
    "loopback": ["127.0.0.1", "127.8.8.8", "127.255.255.255", "::1"],
    "private": [
        "10.0.0.0", "10.255.255.255", "172.16.0.0", "172.31.255.255", "192.168.0.0", "192.168.255.255",
    ],
    "link-local": ["169.254.0.1", "169.254.169.254", "169.254.170.2", "fe80::1", "febf::1"],
    "unique-local": ["fc00::1", "fd00:ec2::254", "fdff::1"],
    "site-local": ["fec0::1"],
    "multicast": ["224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1"],
    "reserved": ["240.0.0.1", "255.255.255.255", "4000::1", "5f00::1", "fe00::1"],
    "carrier-grade NAT": ["100.64.0.0", "100.100.100.200", "100.127.255.255"],
    "protocol assignments": ["192.0.0.8", "192.0.0.192", "192.88.99.1", "2001:1::1", "2001:20::1"],
    "benchmarking": ["198.18.0.1", "198.19.255.255", "2001:2::1"],
    "documentation": ["192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff::1", "3fff:fff::1"],
    "discard-only": ["100::1"],
    "IPv4-mapped": ["::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:8.8.8.8", "::ffff:0:8.8.8.8"],
    "IPv4-compatible": ["::127.0.0.1", "::8.8.8.8", "::ffff"],
    "6to4": ["2002:7f00:1::", "2002:a9fe:a9fe::1", "2002:808:808::"],
    "Teredo": ["2001::1", "2001:0:808:808::1"],
    "NAT64": ["64:ff9b::127.0.0.1", "64:ff9b::8.8.8.8", "64:ff9b:1::1", "64:ff9b:1:ffff::8.8.8.8"],
    "the platform of Azure": ["168.63.129.16"],
}  # fmt: skip
PUBLIC = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255",
    "128.0.0.0", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.167.255.255",
    "192.169.0.0", "223.255.255.255", "2606:4700::1111", "2a00:1450:4001::1", "2001:4860:4860::8888",
]  # fmt: skip


def post(sender: HttpSender, url: str) -> Sent:
    return sender.post(url, b'{"a": 1}', {}, timeout=60)


def in_url(address: str) -> str:
    return f"[{address}]" if ":" in address else address


@pytest.fixture(autouse=True)
def internet(monkeypatch: pytest.MonkeyPatch) -> Internet:
    return Internet(monkeypatch)


class TestAddresses:
    @pytest.mark.parametrize(
        "address", [pytest.param(one, id=f"{kind} {one}") for kind, found in REFUSED.items() for one in found]
    )
    def test_refused(self, address: str, internet: Internet) -> None:
        assert not is_public(ipaddress.ip_address(address))
        with pytest.raises(InvalidPayload):
            STRICT.check(f"https://{in_url(address)}/hook")
        assert post(STRICT, f"https://{in_url(address)}/hook") == BLOCKED
        sender = HttpSender(False, False, resolve=named(address))
        assert post(sender, "https://hooks.example.com/") == BLOCKED
        assert internet.connected == []

    @pytest.mark.parametrize("address", PUBLIC)
    def test_accepted(self, address: str, internet: Internet) -> None:
        STRICT.check(f"https://{in_url(address)}/")
        sender = HttpSender(False, False, resolve=named(address))
        assert post(sender, "https://hooks.example.com/") == Sent(None, "connection_refused")
        assert internet.connected == [(address, 443)]

    @pytest.mark.parametrize(
        "host",
        [
            # 127.0.0.1 and other private addresses
            "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0X7F.1", "0177.0.0.1", "017700000001",
            "0x7f.0x0.0x0.0x1", "00127.0.0.1", "127.0.0.01", "0", "3232235777", "0xa9fea9fe", "2852039166",
            "0251.0376.0251.0376", "169.254.43518", "%31%32%37.0.0.1", "127%2e0.0.1",
            "１２７.0.0.1", "①②⑦.0.0.1", "127。0。0。1", "127.0.0.1.", "[::ffff:7f00:1]",
            "[0:0:0:0:0:ffff:127.0.0.1]", "[0:0:0:0:0:0:0:1]",
            # 8.8.8.8, which may be written as that only
            "134744072", "0x08080808", "010.8.8.8", "8.8.2056", "8.8.8.8.8", "8.8.8.0x8", "8.8.8.0x",
            # numbers that are nobody's address
            "10.0.0.256", "1.2.3.4.5", "0x", "1" * 200, "a.0x1", "a.1",
        ],
    )  # fmt: skip
    def test_other_spellings(self, host: str, internet: Internet) -> None:
        _never(f"https://{host}/", internet)

    @pytest.mark.parametrize(
        "host",
        [
            "[fe80::1%eth0]", "[::1%25lo]", "[2606:4700::1111%eth0]", "[2606:4700::1111%25eth0]", "[::1",
            "::1]", "[]", "[::1]]", "[[::1]", "2606:4700::1111", "[1.2.3.4]", "[8.8.8.8]", "[v1.example.com]",
            "a[2606:4700::1111]", "[2606:4700::1111]a", "[2606:4700::1111].", "[2606:4700::1111::]",
            "[" + "1:" * 500 + "]",
        ],
    )  # fmt: skip
    def test_brackets(self, host: str, internet: Internet) -> None:
        _never(f"https://{host}/", internet)

    @pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "localhost.", "a.localhost", "a.localhost."])
    def test_names_of_this_machine(self, host: str, internet: Internet) -> None:
        _never(f"https://{host}/", internet)


def _never(url: str, internet: Internet) -> None:
    """Refused at submission, and no request if it comes to be sent all the same."""
    with pytest.raises(InvalidPayload):
        STRICT.check(url)
    assert post(STRICT, url) == BLOCKED
    assert internet.connected == []


class TestNames:
    @pytest.mark.parametrize(
        "addresses",
        [
            ("10.0.0.1", "8.8.8.8"),
            ("8.8.8.8", "10.0.0.1"),
            ("8.8.8.8", "::1"),
            ("2606:4700::1111", "127.0.0.1"),
            ("2606:4700::1111", "::ffff:8.8.8.8"),
            (*(f"8.8.8.{n}" for n in range(200)), "10.0.0.1"),
        ],
    )
    def test_one_bad_address_among_good_ones(self, addresses: tuple[str, ...], internet: Internet) -> None:
        sender = HttpSender(False, False, resolve=named(*addresses))
        assert post(sender, "https://hooks.example.com/") == BLOCKED
        assert internet.connected == []

    @pytest.mark.parametrize("address", ["fe80::1%lo", "2606:4700::1111%lo", "2606:4700::1111%1"])
    def test_zone(self, address: str, internet: Internet) -> None:
        sender = HttpSender(False, False, resolve=named(address))
        assert post(sender, "https://hooks.example.com/") == BLOCKED
        assert internet.connected == []

    def test_answer_that_changes_between_check_and_connect(self, internet: Internet) -> None:
        """A request asks for the name once, and the connection goes to the answer that was judged."""
        with receiving() as inside:
            answers = iter([named("8.8.8.8"), named("8.8.8.8"), named("127.0.0.1")])
            asked: list[str] = []

            def resolve(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
                asked.append(host)
                return next(answers)(host, port)

            sender = HttpSender(True, False, resolve=resolve)
            url = inside.url("/", "rebind.example.com")
            sender.check(url)
            assert post(sender, url) == Sent(None, "connection_refused")
            assert internet.connected == [("8.8.8.8", inside.port)]
            assert asked == ["rebind.example.com"] * 2
            assert post(sender, url) == BLOCKED
            assert internet.connected == [("8.8.8.8", inside.port)]
        assert inside.seen == []

    def test_name_without_address(self) -> None:
        assert post(LOCAL, "http://nowhere.invalid/") == Sent(None, "dns_error")

    @pytest.mark.parametrize(
        "answer",
        [
            [],
            None,
            [()],
            [(2, 1, 6, "", ())],
            [(2, 1, 6, "", ("hooks.example.com", 443))],
            [(2, 1, 6, "", ("0177.0.0.1", 443))],
            [(2, 1, 6, "", (134744072, 443))],
            [(10, 1, 6, "", (10, b"\x08\x08\x08\x08"))],
            [(2, 1, 6, "", (b"\x08\x08\x08\x08", 443))],
            [(2, 1, 6, "", ("8.8.8.8", 443)), (2, 1, 6, "", (None, 443))],
        ],
    )
    @pytest.mark.parametrize("sender", [(False, False), (True, True)])
    def test_answer_that_nobody_understands(
        self, answer: Any, sender: tuple[bool, bool], internet: Internet
    ) -> None:
        odd = HttpSender(*sender, resolve=lambda *_, **__: answer)
        assert post(odd, "https://hooks.example.com/") == Sent(None, "dns_error")
        assert internet.connected == []

    def test_answer_without_port(self, internet: Internet) -> None:
        sender = HttpSender(False, False, resolve=lambda *_, **__: [(2, 1, 6, "", ("8.8.8.8",))])
        assert post(sender, "https://hooks.example.com/") == Sent(None, "connection_refused")
        assert internet.connected == [("8.8.8.8", 443)]

    @pytest.mark.parametrize("error", [OSError, UnicodeError, RuntimeError])
    def test_resolver_that_fails(self, error: type[Exception]) -> None:
        sender = HttpSender(False, False, resolve=_raising(error))
        assert post(sender, "https://hooks.example.com/") == Sent(None, "dns_error")


def _raising(error: type[Exception]) -> Callable[..., Any]:
    def resolve(*_: object, **__: object) -> None:
        raise error

    return resolve


class TestRedirects:
    @pytest.mark.parametrize("status", [300, 301, 302, 303, 305, 307, 308])
    @pytest.mark.parametrize("header", ["Location", "Refresh"])
    def test_never_followed(self, status: int, header: str, internet: Internet) -> None:
        secret = "http://169.254.169.254/latest/meta-data/iam/security-credentials/"
        with receiving() as receiver:
            receiver.status = status
            receiver.headers = {header: secret if header == "Location" else f"0; url={secret}"}
            assert post(LOCAL, receiver.url()) == Sent(status, None, None, "ok")
            assert internet.connected == [("127.0.0.1", receiver.port)]
        assert len(receiver.seen) == 1

    def test_not_to_the_receiver_itself_either(self, internet: Internet) -> None:
        with receiving() as receiver:
            receiver.status, receiver.headers = 307, {"Location": "/followed"}
            assert not post(LOCAL, receiver.url()).ok
        assert [path for path, _, _ in receiver.seen] == ["/"]
        assert len(internet.connected) == 1


class TestUrls:
    @pytest.mark.parametrize(
        "url",
        [
            "https://example.com/hook", "https://example.com:8443/hook?a=b", "https://EXAMPLE.com",
            "HTTPS://example.com", "https://xn--bcher-kva.example/", "https://a_b.example.com/",
            "https://4chan.example/", "https://example.com./", "https://example.com:443/",
            "https://example.com:1024/", "https://example.com:65535/", "https://example.com?a=@127.0.0.1",
            "https://example.com/@127.0.0.1", "https://example.com#@127.0.0.1", "https://example.com//a",
            "https://[2606:4700:0:0::1111]:8443/", "https://8.8.8.8.nip.io/", f"https://{'a.' * 126}a/",
            f"https://{'a' * 63}.com/", f"https://example.com/{'a' * 2028}",
        ],
    )  # fmt: skip
    def test_good(self, url: str) -> None:
        STRICT.check(url)

    @pytest.mark.parametrize(
        "url",
        [
            "", "example.com", "//example.com", "https:example.com", "https:/example.com", "https://",
            "https:///path", "https://?a", "https://:443/",
            # other schemes
            "http://example.com/", "ftp://example.com/", "file:///etc/passwd", "gopher://example.com/",
            "https+unix://example.com/", "javascript://example.com/",
            # users
            "https://user@example.com/", "https://user:pw@example.com/", "https://@example.com/",
            "https://:@example.com/", "https://example.com@127.0.0.1/", "https://8.8.8.8:443@127.0.0.1/",
            "https://example.com;@127.0.0.1/", "https://example.com\\@127.0.0.1/", "https://a@b@example.com/",
            # ports
            "https://example.com:0/", "https://example.com:22/", "https://example.com:80/",
            "https://example.com:442/", "https://example.com:1023/", "https://example.com:65536/",
            "https://example.com:99999/", "https://example.com:655360/", "https://example.com:a/",
            "https://example.com:/", "https://example.com:-443/", "https://example.com:+443/",
            "https://example.com:4_43/", "https://example.com:0443/", "https://example.com:443:80/",
            "https://example.com:٤٤٣/", "https://example.com:%34%34%33/",
            # characters
            "https://exa mple.com/", " https://example.com/", "https://example.com/\n", "https://exa\nmple.com/",
            "https://exa\tmple.com/", "https://example.com/\x00", "https://example.com\x00.evil.com/",
            "https://example.com/\x7f", "https://example.com\\/", "https://exa%6dple.com/", "https://a%00b/",
            "https://bücher.example/", "https://ⓔxample.com/", "https://example。com/", "https://exam\u00adple.com/",
            "https://example.com/ü", "https://example.com,evil.com/", "https://example.com|a/",
            "https://{example.com}/", "https://*.example.com/", "https://example.com!/", "https://a+b.com/",
            # labels
            "https://-/", "https://-a.com/", "https://a..b/", "https://.a.com/", "https://a.com../", "https://./",
            f"https://{'a' * 64}.com/", f"https://{'a.' * 127}a/", f"https://{'a' * 2000}/",
            f"https://example.com/{'a' * 2029}",
        ],
    )  # fmt: skip
    def test_bad(self, url: str, internet: Internet) -> None:
        _never(url, internet)

    @pytest.mark.parametrize("addresses", [("10.0.0.1",), ("8.8.8.8", "::1"), ("169.254.169.254",)])
    def test_name_that_leads_to_a_private_address(self, addresses: tuple[str, ...]) -> None:
        with pytest.raises(InvalidPayload, match="not on the public internet"):
            HttpSender(False, False, resolve=named(*addresses)).check("https://hooks.example.com/")
        HttpSender(False, True, resolve=named(*addresses)).check("https://hooks.example.com/")

    def test_name_that_leads_nowhere_yet(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("shared.providers.outbound.CHECK_SECONDS", 0.1)
        released = threading.Event()
        HttpSender(False, False, resolve=named()).check("https://hooks.example.com/")
        slow = HttpSender(False, False, resolve=lambda *_, **__: released.wait(30) and [])
        slow.check("https://hooks.example.com/")
        released.set()

    def test_http_when_allowed(self) -> None:
        sender = HttpSender(True, False)
        sender.check("http://example.com/")
        sender.check("http://example.com:80/")
        for url in ("http://localhost:7071/", "http://127.0.0.1:7071/", "http://example.com:443/"):
            with pytest.raises(InvalidPayload):
                sender.check(url)

    def test_private_when_allowed_is_still_https(self) -> None:
        sender = HttpSender(False, True)
        sender.check("https://10.0.0.1/")
        with pytest.raises(InvalidPayload):
            sender.check("http://10.0.0.1/")

    def test_any_port_and_address_when_allowed(self) -> None:
        LOCAL.check("http://localhost:22/")
        LOCAL.check("https://[::1]:81/")
