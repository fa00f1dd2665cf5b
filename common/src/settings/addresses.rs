//! Where services listen, and the URLs under which others reach them. An address that could never
//! work is refused at the start, with what to write instead.

use crate::wire::order::ReplicaId;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// Both loopback addresses. `localhost` means them everywhere, also where a name server or a hosts
/// file says (RFC 6761, section 6.3).
pub const LOCALHOST: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
];

/// Whether a host name is `localhost`.
pub fn is_localhost(host: &str) -> bool {
    host.trim_end_matches('.').eq_ignore_ascii_case("localhost")
}

/// An address to listen on: `host:port`. A name stands for every address that it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenAddress {
    text: String,
    addresses: Vec<SocketAddr>,
}

impl ListenAddress {
    /// Every address; at least one.
    pub fn all(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The one address of a listener that has only one: of a name, its first of IPv4, which every
    /// caller tries.
    pub fn one(&self) -> SocketAddr {
        // IPv4 where there is one: every caller can reach it.
        let v4 = self.addresses.iter().find(|address| address.is_ipv4());
        *v4.unwrap_or(&self.addresses[0])
    }

    /// The port; 0 takes a free one.
    pub fn port(&self) -> u16 {
        self.addresses[0].port()
    }

    /// Whether it names no host: `0.0.0.0` or `::`.
    pub fn is_wildcard(&self) -> bool {
        self.addresses.iter().all(|a| a.ip().is_unspecified())
    }

    /// Whether only this machine reaches it.
    pub fn is_loopback(&self) -> bool {
        self.addresses.iter().all(|a| a.ip().is_loopback())
    }

    /// Whether both would listen on one port of one address. Port 0 is free by itself.
    #[must_use]
    pub fn collides_with(&self, other: &Self) -> bool {
        let same = |a: &SocketAddr, b: &SocketAddr| {
            // A wildcard takes the port of every address.
            let wildcard = a.ip().is_unspecified() || b.ip().is_unspecified();
            a.port() == b.port() && a.port() != 0 && (a.ip() == b.ip() || wildcard)
        };
        let mut pairs = self.addresses.iter();
        pairs.any(|a| other.addresses.iter().any(|b| same(a, b)))
    }
}

impl From<SocketAddr> for ListenAddress {
    fn from(address: SocketAddr) -> Self {
        Self {
            text: address.to_string(),
            addresses: vec![address],
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for ListenAddress {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        // A URL is written here often, as the other settings are URLs.
        if text.contains("://") {
            return Err("write host:port, without http://".into());
        }
        let (host, port) = host_and_port(text, "")?;
        let addresses = match host {
            Host::Ip(ip) => vec![SocketAddr::new(ip, port)],
            // Not asked of a name server: see `LOCALHOST`.
            Host::Name(name) if is_localhost(name) => {
                LOCALHOST.map(|ip| SocketAddr::new(ip, port)).into()
            }
            Host::Name(name) => resolve(name, port).map_err(|why| {
                format!(
                    "the name {name} has no address ({why}): write one of this machine's addresses"
                )
            })?,
        };
        Ok(Self {
            text: text.into(),
            addresses,
        })
    }
}

fn resolve(name: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let found = (name, port).to_socket_addrs().map_err(|e| e.to_string())?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found {
        // A name server may give one address twice, and a second listener on it would fail.
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err("nothing was found".into());
    }
    Ok(addresses)
}

/// Base URLs of the catalogs: one, or those that share a database, separated by commas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogUrls(pub Vec<String>);

impl CatalogUrls {
    /// The variable.
    pub const NAME: &str = "CATALOG_URL";
    /// Its default.
    pub const DEFAULT: &str = "http://127.0.0.1:7100";
    /// Its line in `--help`.
    pub const HELP: &str = "URL of the catalog; of all, separated by commas, where several share \
                            a database";
    /// Catalogs at most.
    const MOST: usize = 8;
}

impl FromStr for CatalogUrls {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut urls: Vec<String> = Vec::new();
        for part in text.split(',') {
            let ServiceUrl(url) = part.parse().map_err(|why| match text.contains(',') {
                true => format!("'{}': {why}", part.trim()),
                false => why,
            })?;
            // Twice the same is a slip: a call would go round to the one that just failed.
            if urls.contains(&url) {
                return Err(format!("{url} is given twice: list each catalog once"));
            }
            urls.push(url);
        }
        if urls.len() > Self::MOST {
            return Err(format!("write at most {} catalogs", Self::MOST));
        }
        Ok(Self(urls))
    }
}

/// Base URL of a service: `http://host:port`, kept without a slash at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceUrl(pub String);

impl FromStr for ServiceUrl {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        const HOW: &str = "write http://host:port";
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").ok_or(HOW)?;
        // No TLS between services: they are on loopback or on a network of their own.
        if !scheme.eq_ignore_ascii_case("http") {
            return Err(format!("services speak plain HTTP: {HOW}"));
        }
        let authority = rest.trim_end_matches('/');
        // Paths are ours to add: a URL with one would be called at the wrong place.
        if let Some(at) = authority.find(['/', '?', '#']) {
            return Err(format!(
                "a base URL ends after the port: write http://{}",
                &authority[..at]
            ));
        }
        // A password here would go into logs.
        if authority.contains('@') {
            return Err(format!("a user has no place here: {HOW}"));
        }
        let (host, port) = host_and_port(authority, "http://")?;
        if port == 0 {
            return Err(format!("port 0 cannot be called: {HOW}"));
        }
        if matches!(host, Host::Ip(ip) if ip.is_unspecified()) {
            return Err(format!(
                "this address is for listening, it names no host: write http://127.0.0.1:{port}, \
                 or the host's name"
            ));
        }
        Ok(Self(format!("http://{authority}")))
    }
}

impl fmt::Display for ServiceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

enum Host<'a> {
    Ip(IpAddr),
    Name(&'a str),
}

/// Takes `host:port` apart. `before` stands before it in what the remedy says.
fn host_and_port<'a>(text: &'a str, before: &str) -> Result<(Host<'a>, u16), String> {
    if let Ok(v6) = text.parse::<Ipv6Addr>() {
        // Ambiguous: the last group may be meant as the port.
        let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
        let meant = match (host.parse::<Ipv6Addr>(), port.parse::<u16>()) {
            (Ok(host), Ok(port)) => format!("[{host}]:{port}"),
            _ => format!("[{v6}]:port"),
        };
        return Err(format!(
            "an IPv6 address stands in brackets: write {before}{meant}"
        ));
    }
    let (host, port) = text
        .rsplit_once(':')
        .filter(|(host, _)| !host.starts_with('[') || host.ends_with(']'))
        .ok_or_else(|| format!("the port is missing: write {before}{}:port", or_host(text)))?;
    // `+80` parses as a number and is no port.
    let number = port.parse::<u16>().ok().filter(|_| !port.starts_with('+'));
    let port = number.ok_or_else(|| {
        format!(
            "'{port}' is no port: write {before}{}:port with a port from 1 to 65535",
            or_host(host)
        )
    })?;
    let inside = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    if let Some(inside) = inside {
        let ip = inside.parse::<Ipv6Addr>();
        let ip =
            ip.map_err(|_| format!("'{inside}' is no IPv6 address: write {before}[::1]:{port}"))?;
        return Ok((Host::Ip(ip.into()), port));
    }
    if host.parse::<Ipv6Addr>().is_ok() {
        return Err(format!(
            "an IPv6 address stands in brackets: write {before}[{host}]:{port}"
        ));
    }
    if let Ok(ip) = host.parse::<Ipv4Addr>() {
        return Ok((Host::Ip(ip.into()), port));
    }
    check_name(host).map_err(|why| format!("{why}: write {before}host:{port}"))?;
    Ok((Host::Name(host), port))
}

fn or_host(text: &str) -> &str {
    if text.is_empty() { "host" } else { text }
}

/// Whether a name can be one of a host.
fn check_name(host: &str) -> Result<(), String> {
    let name = host.strip_suffix('.').unwrap_or(host);
    if name.is_empty() {
        return Err("the host is missing".into());
    }
    let fits = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    if name.len() > 253 || !name.split('.').all(fits) {
        return Err(format!(
            "'{host}' is no host name (letters, digits, '-' and '.')"
        ));
    }
    // As browsers do: what ends in a number is an address, never a name.
    let last = name.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("'{host}' is no IPv4 address"));
    }
    Ok(())
}

/// The replicas of the order service: `1=http://host:port,2=…`, each id once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaUrls(pub BTreeMap<ReplicaId, String>);

impl ReplicaUrls {
    /// Name of the variable.
    pub const NAME: &'static str = "ORDER_REPLICAS";
    /// Its default: three replicas on this machine.
    pub const DEFAULT: &'static str =
        "1=http://127.0.0.1:7201,2=http://127.0.0.1:7202,3=http://127.0.0.1:7203";
    /// Its meaning, for `--help`.
    pub const HELP: &'static str = "all replicas of the order service, id=url, separated by commas";
}

impl FromStr for ReplicaUrls {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut urls = BTreeMap::new();
        for item in text.split(',') {
            let (id, url) = item
                .split_once('=')
                .ok_or_else(|| format!("'{item}' is not id=url: write {}", Self::DEFAULT))?;
            let id = id.trim().parse()?;
            let url = url.trim();
            let parsed: ServiceUrl = url.parse().map_err(|e| format!("'{url}': {e}"))?;
            // Two URLs for one replica would count one copy twice.
            if urls.insert(id, parsed.0).is_some() {
                return Err(format!("replica {id} is named twice"));
            }
        }
        Ok(Self(urls))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each URL that cannot work is refused with what to write instead.
    #[test]
    fn wrong_urls_are_refused_with_the_remedy() {
        for (wrong, remedy) in [
            ("http://::1:7100", "write http://[::1]:7100"),
            ("http://fe80::1:7100", "write http://[fe80::1]:7100"),
            ("http://::1", "brackets"),
            ("http://[::1]", "write http://[::1]:port"),
            ("http://[::g]:7100", "write http://[::1]:7100"),
            ("http://[fe80::1%eth0]:7100", "no IPv6 address"),
            ("https://a:1", "plain HTTP"),
            ("a:1", "write http://host:port"),
            ("http://a", "write http://a:port"),
            ("http://:7100", "the host is missing"),
            ("http://a:", "no port"),
            ("http://a:x", "1 to 65535"),
            ("http://a:+80", "no port"),
            ("http://a:0", "port 0"),
            ("http://a:65536", "no port"),
            ("http://a:1/x", "write http://a:1"),
            ("http://a:1?x", "write http://a:1"),
            ("http://u:p@a:1", "a user"),
            ("http://a b:1", "no host name"),
            ("http://é:1", "no host name"),
            ("http://a..b:1", "no host name"),
            ("http://256.0.0.1:1", "no IPv4 address"),
            ("http://127.0.1:1", "no IPv4 address"),
            ("http://0.0.0.0:7100", "write http://127.0.0.1:7100"),
            ("http://[::]:7100", "names no host"),
        ] {
            let error = wrong.parse::<ServiceUrl>().expect_err(wrong);
            assert!(error.contains(remedy), "{wrong}: {error}");
        }
        for (right, kept) in [
            ("http://a:1/", "http://a:1"),
            (" HTTP://a.b-c_d.:65535 ", "http://a.b-c_d.:65535"),
            ("http://[::1]:7100", "http://[::1]:7100"),
            ("http://127.0.0.1:7100", "http://127.0.0.1:7100"),
        ] {
            assert_eq!(right.parse::<ServiceUrl>(), Ok(ServiceUrl(kept.into())));
        }
    }

    /// An address to listen on may be a name: `localhost` is both loopback addresses.
    #[test]
    fn a_name_stands_where_an_address_is_asked_for() {
        let parse = |text: &str| text.parse::<ListenAddress>();
        let localhost = parse("localhost:8080").expect("a name");
        let texts: Vec<String> = localhost.all().iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["127.0.0.1:8080", "[::1]:8080"]);
        assert_eq!(
            (localhost.one().to_string(), localhost.to_string()),
            ("127.0.0.1:8080".into(), "localhost:8080".into())
        );
        assert!(parse("[::]:0").expect("a wildcard").is_wildcard());
        for (wrong, remedy) in [
            ("nowhere", "write nowhere:port"),
            ("8080", "write 8080:port"),
            (":8080", "the host is missing"),
            ("::1:8080", "write [::1]:8080"),
            ("http://localhost:8080", "without http://"),
            ("127.0.0.1:x", "1 to 65535"),
            ("no-such-host.invalid:80", "no-such-host.invalid"),
        ] {
            let error = parse(wrong).expect_err(wrong);
            assert!(error.contains(remedy), "{wrong}: {error}");
        }
    }

    /// Two listeners of one process must not share a port.
    #[test]
    fn equal_addresses_are_seen() {
        let collide = |a: &str, b: &str| {
            let parse = |text: &str| text.parse::<ListenAddress>().expect("an address");
            parse(a).collides_with(&parse(b))
        };
        assert!(collide("localhost:80", "127.0.0.1:80"));
        assert!(collide("0.0.0.0:80", "127.0.0.1:80"));
        assert!(!collide("127.0.0.1:80", "127.0.0.2:80"));
        assert!(!collide("127.0.0.1:0", "127.0.0.1:0"));
    }

    /// A list of catalogs keeps its order; one that makes no sense is refused with its wrong part.
    #[test]
    fn catalog_lists() {
        let parse = |text: &str| text.parse::<CatalogUrls>().map(|urls| urls.0);
        let two = parse(" http://b:7100/, http://a:7100").expect("two");
        assert_eq!(two, ["http://b:7100", "http://a:7100"]);
        assert_eq!(parse("http://a:1").expect("one"), ["http://a:1"]);
        for (wrong, remedy) in [
            ("http://a:1,", "''"),
            ("http://a:1,b:2", "'b:2'"),
            ("a:1", "write http://host:port"),
            ("http://a:1,http://a:1/", "given twice"),
        ] {
            let error = parse(wrong).expect_err(wrong);
            assert!(error.contains(remedy), "{wrong}: {error}");
        }
    }

    /// Replica lists that make no sense are refused with the piece that is wrong.
    #[test]
    fn replica_lists() {
        let urls: ReplicaUrls = ReplicaUrls::DEFAULT.parse().expect("default");
        assert_eq!(urls.0.len(), 3);
        for wrong in [
            "",
            "1",
            "0=http://a:1",
            "1=a:1",
            "1=http://a",
            "1=http://a:1,1=http://b:1",
            "x=http://a:1",
            "1=http://a:0",
            "1=http://::1:7100",
        ] {
            assert!(wrong.parse::<ReplicaUrls>().is_err(), "{wrong}");
        }
    }
}
