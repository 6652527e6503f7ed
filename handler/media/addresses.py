"""AddressPolicy: which hosts and which IP addresses this server may contact on behalf of a client."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from yarl import URL

from handler.media.limits import MediaLimits

_NAT64 = IPv6Network("64:ff9b::/96")
_GLOBAL_UNICAST = IPv6Network("2000::/3")  # all that IANA has assigned; what is outside is special
# Global in IANA's registry, or in an older Python's copy of it, but no public server is there.
_FORBIDDEN = (
    # Protocol assignments; includes Teredo, which embeds an IPv4 address that the sender chooses.
    IPv6Network("2001::/23"),
    IPv6Network("2002::/16"),  # 6to4: the same
    IPv6Network("3fff::/20"),  # documentation (RFC 9637)
    IPv4Network("192.0.0.0/24"),  # protocol assignments; Oracle's cloud serves metadata at 192.0.0.192
    IPv4Network("192.88.99.0/24"),  # 6to4 relays
    IPv4Network("168.63.129.16/32"),  # Azure's platform service, a public address that is reachable only from inside
)


class ForbiddenAddress(OSError):  # an OSError, so that aiohttp carries it like any failure to connect
    """The policy forbids the address of a connection. Names no address: the text may reach a client."""


class AddressPolicy:
    """The operator's rules about hosts and networks; by default global unicast addresses only.

    The default excludes loopback, private, link-local (and so the metadata services at 169.254.169.254 and
    fd00:ec2::254), carrier-grade NAT, multicast and reserved ranges, in IPv4 and where IPv6 embeds them.
    """

    def __init__(self, limits: MediaLimits) -> None:
        self._hosts = frozenset(normalize_host(host) for host in limits.allowed_hosts)
        self._networks = limits.allowed_networks

    def allows_host(self, host: str) -> bool:
        """Whether the host, as `normalize_host` returns it, may be contacted. Its addresses are checked separately."""
        return not self._hosts or host in self._hosts

    def allows_address(self, address: str) -> bool:
        """Whether the server may connect to the address (as in a socket address; not a name)."""
        try:
            return self._allows(ip_address(address))
        except ValueError:  # not an address in its canonical spelling
            return False

    def _allows(self, ip: IPv4Address | IPv6Address) -> bool:
        if any(ip in network for network in self._networks):
            return True
        if isinstance(ip, IPv6Address):
            if ip.ipv4_mapped is not None:
                return self._allows(ip.ipv4_mapped)
            if ip in _NAT64:  # how an IPv6-only network reaches IPv4: the embedded address decides
                return self._allows(IPv4Address(int(ip) & 0xFFFF_FFFF))
            if ip not in _GLOBAL_UNICAST:
                return False
        special = ip.is_multicast or ip.is_reserved or ip.is_private
        return ip.is_global and not special and not any(ip in network for network in _FORBIDDEN)


def normalize_host(host: str) -> str:
    """The host in the form that is compared: IDNA-encoded, lower case, without a trailing dot."""
    return (URL.build(scheme="http", host=host).raw_host or "").rstrip(".").lower()
