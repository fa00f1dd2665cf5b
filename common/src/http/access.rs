//! The rule that lets callers in. It judges the head of a request, before any of the body is read.
//!
//! An internal listener is reached by more than the bazaar's services: by strangers where it leaves
//! loopback, and on loopback by every page that a browser on the machine shows. So it refuses
//!
//! - a `Host` that is no name of this service (421). A page under a name of its own that later
//!   resolves to this machine (DNS rebinding) would be of one origin with the listener;
//! - any `Origin` (403): our services send none, and a browser sends one with each call of a page
//!   that could change something;
//! - a call without the token (401), or without one set, from elsewhere than loopback;
//! - a call of another major version of the protocol (400; [`super::protocol`]);
//! - a body that does not say it is JSON (415): a page may send the other types to any host
//!   unasked.

use super::routes::shortened;
use super::{Request, Response, protocol};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// The callers that a listener lets in.
#[derive(Debug, Clone)]
pub enum Access {
    /// Anyone.
    Public,
    /// Callers with the bearer token; without a token, callers on the loopback interface. `/livez`
    /// and `/metrics` are open to all.
    Internal {
        /// The token.
        token: Option<String>,
        /// Names under which callers know this service, beside addresses and `localhost`.
        names: Arc<[String]>,
    },
}

/// Whether a request is let in.
#[derive(Debug)]
pub enum Admission {
    /// It is one of ours, or anyone where anyone may call.
    Trusted,
    /// A stranger that asks for what is open to all.
    Stranger,
    /// It gets this response.
    Refused(Response),
}

impl Access {
    /// An internal listener that is called by address.
    pub fn internal(token: Option<&str>) -> Self {
        Self::Internal {
            token: token.map(Into::into),
            names: Arc::default(),
        }
    }

    /// Whether only services of ours call.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        matches!(self, Self::Internal { .. })
    }

    /// Judges a request by its head. `has_body`: whether the head announces a body.
    pub fn judge(&self, request: &Request, has_body: bool) -> Admission {
        // The public listener takes anyone: its handler judges orders by their origin.
        let Self::Internal { token, names } = self else {
            return Admission::Trusted;
        };
        let headers = &request.headers;
        // All of them: which of two `Host` fields another recipient takes is not known.
        if let Some(host) = headers.all("host").find(|host| !is_ours(host, names)) {
            let message = format!(
                "this service is not known as '{host}': call it by its address, or list the name \
                 in BAZAAR_HOSTS"
            );
            return Admission::Refused(Response::error(421, &message));
        }
        // Before the token: on loopback without a token a page would otherwise be trusted.
        if headers.get("origin").is_some() {
            return Admission::Refused(Response::error(
                403,
                "internal calls come from services, never from a web page: send no Origin",
            ));
        }
        if !is_trusted(token.as_deref(), request) {
            // Without a body, since nothing of a stranger's is read.
            return if is_open(request) && !has_body {
                Admission::Stranger
            } else {
                Admission::Refused(unauthorized(token.is_some()))
            };
        }
        // After the token: a stranger must not learn the version.
        if let Some(theirs) = protocol::unfit(headers.get(protocol::HEADER)) {
            return Admission::Refused(other_protocol(theirs));
        }
        // Last, and only with a body: a page can send a form or plain text to any host unasked, but
        // JSON only after a preflight, which is refused.
        if has_body && !headers.get("content-type").is_some_and(is_json) {
            return Admission::Refused(Response::error(
                415,
                "internal calls with a body need the header 'Content-Type: application/json'",
            ));
        }
        Admission::Trusted
    }
}

/// Whether a token was shown that is right, or none is needed.
fn is_trusted(token: Option<&str>, request: &Request) -> bool {
    // Without a token set the network stands in for it: only this machine may call.
    let Some(token) = token else {
        return request
            // The peer is unknown where a server does not say it, and then it is no neighbour. An
            // IPv4 address may come mapped into IPv6.
            .peer
            .is_some_and(|peer| peer.ip().to_canonical().is_loopback());
    };
    let given = request
        .headers
        .get("authorization")
        .and_then(|a| a.strip_prefix("Bearer "))
        .unwrap_or("");
    // Constant in time: the time of a response must not show how much of a guess was right.
    bool::from(given.as_bytes().ct_eq(token.as_bytes()))
}

fn is_open(request: &Request) -> bool {
    request.method == "GET" && matches!(request.path.as_str(), "/livez" | "/metrics")
}

fn unauthorized(token_is_set: bool) -> Response {
    let message = if token_is_set {
        "internal calls need the header 'Authorization: Bearer <BAZAAR_TOKEN>'"
    } else {
        "BAZAAR_TOKEN is not set here, so internal calls are taken from loopback only"
    };
    Response::error(401, message).with_header("WWW-Authenticate", "Bearer")
}

fn other_protocol(theirs: &str) -> Response {
    let theirs = shortened(theirs);
    let ours = protocol::text();
    let message = format!(
        "this service speaks protocol {ours}, the caller {theirs}: another major version; stop all \
         services and start them with one version of the program"
    );
    Response::error(400, &message).with_header(protocol::HEADER, ours)
}

/// Whether a `Host` value names this service: an address, `localhost` or one of `names`, with or
/// without a port. Clients older than HTTP/1.1 send none, browsers always do.
fn is_ours(host: &str, names: &[String]) -> bool {
    let name = host_name(host);
    // None was sent: no browser called.
    name.is_empty()
        // An address cannot be rebound: only names can.
        || name.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || names.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// The host of `host[:port]`, without the brackets of an IPv6 address and without the dot that ends
/// a full name.
pub fn host_name(host: &str) -> &str {
    if let Some((inside, _)) = host.strip_prefix('[').and_then(|h| h.split_once(']')) {
        return inside;
    }
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    // A full name may end with a dot, and means the same host.
    name.strip_suffix('.').unwrap_or(name)
}

fn is_json(content_type: &str) -> bool {
    let media = content_type.split(';').next().unwrap_or_default();
    media.trim().eq_ignore_ascii_case("application/json")
}

/// Where a listener on this address is reached from its own machine.
pub fn own_address(address: std::net::SocketAddr) -> std::net::SocketAddr {
    let loopback: IpAddr = match address.ip() {
        // A wildcard is where a listener listens, not where it can be called.
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    (loopback, address.port()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Headers;

    fn request(path: &str, headers: &[(&str, &str)], peer: &str) -> Request {
        let owned = |(name, value): &(&str, &str)| ((*name).into(), (*value).into());
        Request {
            method: if path == "/trades" { "POST" } else { "GET" }.into(),
            path: path.into(),
            query: None,
            headers: Headers(headers.iter().map(owned).collect()),
            body: Vec::new(),
            may_block: false,
            peer: Some(peer.parse().expect("an address")),
            trace: String::new(),
        }
    }

    fn status(access: &Access, request: &Request, has_body: bool) -> u16 {
        match access.judge(request, has_body) {
            Admission::Trusted => 200,
            Admission::Stranger => 100,
            Admission::Refused(response) => response.status,
        }
    }

    const HERE: &str = "127.0.0.1:50000";
    const THERE: &str = "192.0.2.7:50000";
    const BEARER: (&str, &str) = ("Authorization", "Bearer a-good-token");
    const JSON: (&str, &str) = ("Content-Type", "application/json; charset=utf-8");

    /// A page in a browser gets nowhere: not with its Origin, not under a name of its own, not with
    /// a body that it may send unasked; not even to what is open to all.
    #[test]
    fn pages_are_refused() {
        let access = Access::internal(None);
        let judged = |headers: &[(&str, &str)], has_body| {
            status(&access, &request("/trades", headers, HERE), has_body)
        };
        assert_eq!(judged(&[("Host", "localhost:7100"), JSON], true), 200);
        assert_eq!(judged(&[("Origin", "null"), JSON], true), 403);
        assert_eq!(judged(&[("Content-Type", "text/plain")], true), 415);
        assert_eq!(judged(&[], true), 415, "no type is text/plain to a page");
        assert_eq!(judged(&[("Host", "rebound.example:7100"), JSON], true), 421);
        let metrics = request("/metrics", &[("Host", "rebound.example")], HERE);
        assert_eq!(status(&access, &metrics, false), 421);
    }

    /// A caller of another major version is refused with both versions, after the token and before
    /// anything else; a minor version and none at all are let in.
    #[test]
    fn another_protocol_is_refused() {
        let access = Access::internal(Some("a-good-token"));
        let judged = |version: &str, headers: &[(&str, &str)], path: &str| {
            let mut headers = headers.to_vec();
            headers.push(("Bazaar-Protocol", version));
            access.judge(&request(path, &headers, HERE), path == "/trades")
        };
        for fits in ["1.0", "1.7"] {
            let verdict = judged(fits, &[BEARER, JSON], "/trades");
            assert!(matches!(verdict, Admission::Trusted), "{verdict:?}");
        }
        let Admission::Refused(refusal) = judged("2.3", &[BEARER], "/trades") else {
            panic!("let in");
        };
        let message = String::from_utf8_lossy(&refusal.body).into_owned();
        assert_eq!(refusal.status, 400);
        assert!(
            message.contains("1.0") && message.contains("2.3"),
            "{message}"
        );
        let Admission::Refused(refusal) = judged("2.3", &[JSON], "/trades") else {
            panic!("let in");
        };
        assert_eq!(refusal.status, 401, "the token comes first");
        let livez = judged("2.3", &[], "/livez");
        assert!(matches!(livez, Admission::Stranger), "{livez:?}");
    }

    /// Addresses, localhost and the configured names are this service; nothing else is.
    #[test]
    fn names_of_this_service() {
        let names = ["catalog".to_owned()];
        for ours in [
            "",
            "127.0.0.1",
            "10.0.0.7:7100",
            "[::1]:7100",
            "[fe80::1]",
            "LocalHost:1",
            "localhost.:1",
            "Catalog:7100",
        ] {
            assert!(is_ours(ours, &names), "{ours}");
        }
        for other in ["catalog.example", "localhost.example:7100", "1.2.3", "[x]"] {
            assert!(!is_ours(other, &names), "{other}");
        }
    }

    /// The token decides where one is set, else the interface; strangers get what is open to all,
    /// as long as they send no body.
    #[test]
    fn tokens_and_strangers() {
        let (with, without) = (
            Access::internal(Some("a-good-token")),
            Access::internal(None),
        );
        let bad = ("Authorization", "Bearer a-bad-token!");
        for (access, headers, peer, expected) in [
            (&with, &[BEARER, JSON][..], THERE, 200),
            (&with, &[bad, JSON], HERE, 401),
            (&with, &[JSON], HERE, 401),
            (&without, &[JSON], HERE, 200),
            (&without, &[JSON], THERE, 401),
            (&Access::Public, &[("Origin", "x")], THERE, 200),
        ] {
            let asked = request("/trades", headers, peer);
            assert_eq!(status(access, &asked, true), expected, "{access:?}");
        }
        let livez = request("/livez", &[JSON], THERE);
        assert_eq!(status(&with, &livez, false), 100);
        assert_eq!(status(&with, &livez, true), 401);
    }
}
