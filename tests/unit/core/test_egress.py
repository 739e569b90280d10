"""The one way out: what may be asked, and how much it may say."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from neurogrid.core import egress
from neurogrid.core.egress import AddressRefused, Egress, EgressError, Resolve, may_ask
from neurogrid.core.settings_egress import EgressSettings

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


def knows(**hosts: list[str]) -> tuple[Resolve, list[str]]:
    """Return a name server for names ending in ``.test``, and what it was asked."""
    asked: list[str] = []

    async def resolve(host: str, _port: int) -> list[str]:
        asked.append(host)
        return hosts.get(host.removesuffix(".test"), [host])

    return resolve, asked


@asynccontextmanager
async def host(
    answer: bytes | Callable[[asyncio.StreamWriter], Awaitable[None]], tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Serve ``answer`` on this machine; yields the port and the requests."""
    requests: list[bytes] = []
    serving: dict[asyncio.Task[None] | None, asyncio.StreamWriter] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving[asyncio.current_task()] = writer
        try:
            requests.append(await reader.readuntil(b"\r\n\r\n"))
            if isinstance(answer, bytes):
                writer.write(answer)
                await writer.drain()
            else:
                await answer(writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1], requests
    finally:
        server.close()
        for _ in range(3):  # what was accepted a moment ago begins to be served
            await asyncio.sleep(0)
        for task, writer in serving.items():
            if task is not None:
                task.cancel()
                await asyncio.wait({task})
            writer.transport.abort()
        await asyncio.sleep(0)  # what was aborted is closed in the next turn of the loop


@asynccontextmanager
async def way_out(resolve: Resolve | None = None, **settings: float) -> AsyncIterator[Egress]:
    out = Egress(EgressSettings(**settings), resolve)  # type: ignore[arg-type]
    try:
        yield out
    finally:
        await out.close()


@pytest.mark.parametrize(
    ("address", "public", "private"),
    [
        ("93.184.216.34", True, True),
        ("2606:2800:220:1::1", True, True),
        ("::ffff:93.184.216.34", True, True),
        ("10.1.2.3", False, True),
        ("172.31.255.255", False, True),
        ("192.168.0.1", False, True),
        ("100.64.0.1", False, True),
        ("127.0.0.1", False, True),
        ("127.9.9.9", False, True),
        ("::1", False, True),
        ("fd12::1", False, True),
        ("::ffff:127.0.0.1", False, True),
        ("::ffff:10.0.0.1", False, True),
        ("169.254.169.254", False, False),
        ("::ffff:169.254.169.254", False, False),
        ("fd00:ec2::254", False, False),
        ("100.100.100.200", False, False),
        ("192.0.0.192", False, False),
        ("fe80::1", False, False),
        ("fe80::1%eth0", False, False),
        ("0.0.0.0", False, False),  # noqa: S104
        ("::", False, False),
        ("224.0.0.1", False, False),
        ("ff02::1", False, False),
        ("255.255.255.255", False, False),
        ("64:ff9b::a9fe:a9fe", False, False),
        ("2002:a9fe:a9fe::1", False, False),
        ("2001::1", False, False),
        ("::127.0.0.1", False, False),
        ("198.18.0.1", False, False),
        ("not an address", False, False),
        ("", False, False),
    ],
)
def test_what_may_be_asked(address: str, public: bool, private: bool) -> None:  # noqa: FBT001
    """The internet may; one's own networks where the operator says so; what tells a machine its secrets never."""
    assert may_ask(address, private=False) is public
    assert may_ask(address, private=True) is private


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "addresses", [["169.254.169.254"], ["127.0.0.1", "169.254.169.254"], ["169.254.169.254", "127.0.0.1"]]
)
async def test_one_bad_address_is_enough(addresses: list[str]) -> None:
    """A name with an address that may not be asked is not asked at all, at its other addresses neither."""
    resolve, _ = knows(mixed=addresses)
    async with host(OK) as (port, requests), way_out(resolve) as out:
        with pytest.raises(AddressRefused):
            await out.request("GET", f"http://mixed.test:{port}/", private=True)
        assert requests == []


@pytest.mark.asyncio
async def test_private_hosts_are_the_operators_to_allow() -> None:
    """Without leave a private address is refused; the setting gives it to all, the caller to one."""
    resolve, _ = knows(here=["127.0.0.1"])
    async with host(OK) as (port, requests):
        async with way_out(resolve) as out:
            with pytest.raises(AddressRefused):
                await out.request("GET", f"https://here.test:{port}/")
            with pytest.raises(EgressError, match="http"):
                await out.request("GET", f"http://here.test:{port}/")
            assert requests == []
            assert (await out.request("GET", f"http://here.test:{port}/", private=True)).body == b"hi"
        async with way_out(resolve, allow_private=True) as out:
            assert (await out.request("GET", f"http://here.test:{port}/")).status == 200


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "url",
    [
        "http://2130706433:{}/",
        "http://0x7f.1:{}/",
        "http://017700000001:{}/",
        "http://localhost:{}/",
        "http://[::ffff:7f00:1]:{}/",
    ],
)
async def test_other_spellings_of_this_machine(url: str) -> None:
    """What the system takes for an address is judged as the address that it is."""
    async with host(OK) as (port, requests), way_out() as out:
        with pytest.raises(EgressError):
            await out.request("GET", url.format(port).replace("http:", "https:"))
        assert requests == []


@pytest.mark.asyncio
async def test_the_address_that_was_checked_is_the_one_asked() -> None:
    """A name is resolved once: what it leads to a moment later does not matter. The host hears its own name."""
    answers = [["127.0.0.1"], ["169.254.169.254"]]

    async def resolve(_host: str, _port: int) -> list[str]:
        return answers.pop(0)

    async with host(OK) as (port, requests), way_out(resolve) as out:
        await out.request("GET", f"http://moves.test:{port}/x?y=1", private=True, headers={"Accept": "a/b"})
        assert len(answers) == 1
        assert requests[0].startswith(b"GET /x?y=1 HTTP/1.1\r\n")
        assert f"host: moves.test:{port}\r\n".encode() in requests[0].lower()


@pytest.mark.asyncio
async def test_an_address_that_is_deaf_is_passed_over() -> None:
    """Where nobody listens at the first address, the next one is asked."""
    resolve, _ = knows(two=["127.0.0.2", "127.0.0.1"])
    async with host(OK) as (port, _), way_out(resolve) as out:
        assert (await out.request("GET", f"http://two.test:{port}/", private=True)).body == b"hi"
        with pytest.raises(EgressError):
            await out.request("GET", f"http://127.0.0.2:{port}/", private=True)


@pytest.mark.asyncio
async def test_redirects_are_not_followed() -> None:
    """An answer that leads elsewhere is the answer."""
    moved = b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/latest\r\nContent-Length: 0\r\n\r\n"
    async with host(moved) as (port, requests), way_out() as out:
        assert (await out.request("GET", f"http://127.0.0.1:{port}/", private=True)).status == 302
        assert len(requests) == 1


@pytest.mark.asyncio
async def test_answers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer without end is cut off in size, a slow one in time, a compressed one at once."""
    monkeypatch.setattr(egress, "LARGEST", 1000)

    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 1000)
            await writer.drain()

    async def silent(_writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    async def dripping(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    bomb = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b"
    for answer, within, why in (
        (endless, 30.0, "bytes"),
        (bomb, 30.0, "compressed"),
        (silent, 0.1, "within"),
        (dripping, 0.1, "within"),
    ):
        async with host(answer) as (port, _), way_out(timeout=within) as out:
            with pytest.raises(EgressError, match=why):
                await out.request("GET", f"http://127.0.0.1:{port}/", private=True)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "url",
    [
        "ftp://a.test/",
        "file:///etc/passwd",
        "gopher://a.test/",
        "https://u:p@a.test/",
        "https:///x",
        "nonsense",
        "https://a.test:99999/",
    ],
)
async def test_other_urls(url: str) -> None:
    """Nothing but HTTP to a host is spoken, and no credentials travel in a URL."""
    resolve, _ = knows(a=["127.0.0.1"])
    async with way_out(resolve) as out:
        with pytest.raises(EgressError):
            await out.request("GET", url, private=True)


@pytest.mark.asyncio
async def test_certificates_are_of_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The certificate has to be the named host's, though the connection goes to an address."""
    tls = certified("good.test", tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    resolve, _ = knows(good=["127.0.0.1"], bad=["127.0.0.1"])
    async with host(OK, tls) as (port, requests), way_out(resolve) as out:
        assert (await out.request("GET", f"https://good.test:{port}/", private=True)).body == b"hi"
        with pytest.raises(EgressError, match="certificate"):
            await out.request("GET", f"https://bad.test:{port}/", private=True)
        assert len(requests) == 1


def certified(name: str, directory: Path) -> ssl.SSLContext:
    """Return what serves as ``name``; the certificate that says so is left in ``directory``."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (directory / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (directory / "key.pem").write_bytes(private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "cert.pem", directory / "key.pem")
    return context
