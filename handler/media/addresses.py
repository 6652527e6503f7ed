"""AddressPolicy: which hosts and which IP addresses this server may contact on behalf of a client."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from yarl import URL

from handler.media.limits import MediaLimits

_NAT64 = IPv6Network("64:ff9b::/96")
_GLOBAL_UNICAST = IPv6Network("2000::/3")  # all that IANA has given out; whatever is outside is special
# Global by the letter of IANA's registry, or by an older Python's table of it, but not places where an image lives.
_REFUSED = (
    IPv6Network("2001::/23"),  # protocol assignments; Teredo among them carries an IPv4 address of the sender's choice
    IPv6Network("2002::/16"),  # 6to4: likewise
    IPv6Network("3fff::/20"),  # documentation (RFC 9637)
    IPv4Network("192.0.0.0/24"),  # protocol assignments; Oracle's cloud answers metadata requests at 192.0.0.192
    IPv4Network("192.88.99.0/24"),  # 6to4 relays
    IPv4Network("168.63.129.16/32"),  # Azure's platform service, a public address that answers only from inside
)


class ForbiddenAddress(OSError):  # an OSError, so that aiohttp carries it like any failure to connect
    """An address that the policy refuses was about to be dialled. Says no address: the text may reach a client."""


class AddressPolicy:
    """The operator's word on hosts and networks, over a default of global unicast addresses only.

    The default shuts out loopback, private, link-local (and so the metadata services at 169.254.169.254 and
    fd00:ec2::254), carrier-grade NAT, multicast and reserved ranges, in IPv4 and wherever IPv6 embeds it.
    """

    def __init__(self, limits: MediaLimits) -> None:
        self._hosts = frozenset(normal_host(host) for host in limits.allowed_hosts)
        self._networks = limits.allowed_networks

    def admits_host(self, host: str) -> bool:
        """Whether the host, as `normal_host` gives it, may be contacted at all. Its addresses are another question."""
        return not self._hosts or host in self._hosts

    def admits_address(self, address: str) -> bool:
        """Whether the address (as in a socket address; no name) may be dialled."""
        try:
            return self._admits(ip_address(address))
        except ValueError:  # not an address in its canonical spelling: whatever it is, we do not dial it
            return False

    def _admits(self, ip: IPv4Address | IPv6Address) -> bool:
        if any(ip in network for network in self._networks):
            return True
        if isinstance(ip, IPv6Address):
            if ip.ipv4_mapped is not None:
                return self._admits(ip.ipv4_mapped)
            if ip in _NAT64:  # how an IPv6-only network reaches IPv4: as good as the address inside
                return self._admits(IPv4Address(int(ip) & 0xFFFF_FFFF))
            if ip not in _GLOBAL_UNICAST:
                return False
        special = ip.is_multicast or ip.is_reserved or ip.is_private
        return ip.is_global and not special and not any(ip in network for network in _REFUSED)


def normal_host(host: str) -> str:
    """The host as it is compared: IDNA-encoded, lower case, without the trailing dot of a fully qualified name."""
    return (URL.build(scheme="http", host=host).raw_host or "").rstrip(".").lower()
