//! Which pages may trade. A browser sends an order for any page that is open in it, also for one
//! of another site: the bazaar may be reachable for that browser only, and its user knows nothing
//! of it. So an order that a browser marks as foreign is refused.
//!
//! - `Sec-Fetch-Site` gives the relation of the page's site to ours; `same-origin` and `none` are
//!   ours.
//! - `Origin` names the page's origin. It is ours if it names the host and port that `Host` does.
//!   The scheme does not count: behind a proxy with TLS the page is `https` and we speak `http`.
//! - A page can let its own name lead to this machine (DNS rebinding); both fields then name that
//!   page's host. Where the front-end listens on loopback only, a browser reaches it by an address
//!   or by `localhost`, so any other name is foreign there.
//!
//! Programs that are no browsers send neither field, and are never asked. `FRONTEND_ORIGINS` lists
//! further origins, which count as ours.

use common::http::Headers;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The origin of a page: scheme, host and port, in lower case, without the scheme's own port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    scheme: Scheme,
    authority: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

impl Scheme {
    fn default_port(self) -> &'static str {
        match self {
            Self::Http => ":80",
            Self::Https => ":443",
        }
    }

    /// Host and port as a browser would write them after this scheme.
    fn authority(self, text: &str) -> String {
        // Hosts compare without regard to case (RFC 3986 section 3.2.2).
        let text = text.to_ascii_lowercase();
        // A browser leaves the scheme's own port away, and a setting may not.
        let port = self.default_port();
        text.strip_suffix(port).map_or(text.clone(), Into::into)
    }
}

impl FromStr for Origin {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        // A browser sends the text "null" for a page without an origin (a file, a sandboxed frame).
        // It fails here, and its orders are refused.
        let (scheme, authority) = text.split_once("://").ok_or(())?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(()),
        };
        // A path after the host would never equal what a browser sends.
        if authority.is_empty() || !common::http::edge::parse::is_host(authority) {
            return Err(());
        }
        Ok(Self {
            scheme,
            authority: scheme.authority(authority),
        })
    }
}

/// Further origins that may trade, as the setting lists them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OriginList(pub Vec<Origin>);

impl FromStr for OriginList {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let origins = text.split(',').map(str::trim).filter(|one| !one.is_empty());
        origins
            .map(|one| {
                one.parse().map_err(|()| {
                    "write origins without a path, separated by commas, such as \
                     https://shop.example:8443"
                })
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// Judges orders by where they come from.
#[derive(Debug)]
pub struct Origins {
    listed: Vec<Origin>,
    /// Whether the front-end listens on loopback only.
    loopback: bool,
}

/// Where a refused order came from, for the message.
#[derive(Debug, PartialEq, Eq)]
pub enum Foreign {
    /// The origin that it names, or several in one text.
    Origin(String),
    /// The request names none, but the browser marks it as coming from another site.
    Unnamed,
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, list) = match self {
            Self::Origin(origin) => (format!("the origin '{origin}'"), "it"),
            Self::Unnamed => ("a page of another site".into(), "its origin"),
        };
        write!(
            f,
            "an order from {from} is refused: pages of other sites may not trade, and nothing \
             happened; trade on the bazaar's own page or with a program that is no browser, \
             or list {list} in FRONTEND_ORIGINS"
        )
    }
}

impl Origins {
    /// The judge of a front-end.
    pub fn new(OriginList(listed): OriginList, loopback: bool) -> Self {
        Self { listed, loopback }
    }

    /// Checks where an order comes from.
    ///
    /// # Errors
    /// It comes from a page that may not trade.
    pub fn check(&self, headers: &Headers) -> Result<(), Foreign> {
        let given: Vec<&str> = headers.all("origin").collect();
        let named = || match given.as_slice() {
            [] => Foreign::Unnamed,
            all => Foreign::Origin(all.join(", ")),
        };
        // A field given twice is no origin: of two, the wrong one could be looked at.
        let origin: Option<Origin> = match given.as_slice() {
            [] => None,
            [one] => Some(one.parse().map_err(|()| named())?),
            _ => return Err(named()),
        };
        // Before the browser's mark is looked at: a listed page is of another site, and may trade
        // all the same.
        if origin.as_ref().is_some_and(|o| self.listed.contains(o)) {
            return Ok(());
        }
        let ours = |site: &str| ["same-origin", "none"].contains(&site);
        // All of them: of two fields, a proxy may have let a forged one through. Programs send
        // none, and pass.
        if !headers.all("sec-fetch-site").all(ours) {
            return Err(named());
        }
        match origin {
            Some(origin) if !self.is_host(&origin, headers) => Err(named()),
            // Ours, or none at all: a program, or a browser's own same-origin request.
            _ => Ok(()),
        }
    }

    fn is_host(&self, origin: &Origin, headers: &Headers) -> bool {
        let host = headers.get("host").unwrap_or_default();
        // The scheme of the origin says which port may be left away; `Host` has none of its own.
        origin.scheme.authority(host) == origin.authority
            && (!self.loopback || is_address_or_localhost(&origin.authority))
    }
}

/// Whether no page of a stranger can have this host, whatever its name leads to.
fn is_address_or_localhost(authority: &str) -> bool {
    let port = |rest: &str| rest.is_empty() || rest.starts_with(':');
    // An IPv6 address stands in brackets, since it has colons itself.
    if let Some((address, rest)) = authority.strip_prefix('[').and_then(|a| a.split_once(']')) {
        return port(rest) && address.parse::<Ipv6Addr>().is_ok();
    }
    let host = authority.split(':').next().unwrap_or_default();
    // A name that ends with `.localhost` never leaves the machine (RFC 6761), so that no stranger's
    // page can have it.
    host == "localhost" || host.ends_with(".localhost") || host.parse::<Ipv4Addr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(origins: &Origins, fields: &[(&str, &str)]) -> Result<(), Foreign> {
        let fields = fields.iter().map(|(n, v)| ((*n).into(), (*v).into()));
        origins.check(&Headers(fields.collect()))
    }

    fn open_to_all() -> Origins {
        let listed = "https://Shop.example:443, http://10.0.0.7:8080".parse();
        Origins::new(listed.expect("origins"), false)
    }

    /// Programs send neither field; the bazaar's own page names the host that it was loaded from,
    /// also behind a proxy with TLS; listed origins are ours whatever the browser sends of them.
    #[test]
    fn own_pages_and_programs_may_trade() {
        for fields in [
            &[("Host", "a")][..],
            &[],
            &[("Host", "a:8080"), ("Origin", "http://a:8080")],
            &[("Host", "A"), ("Origin", "HTTP://a:80")],
            &[("Host", "a:443"), ("Origin", "https://a")],
            &[("Host", "a"), ("Origin", "https://a")],
            &[("Host", "[::1]:8080"), ("Origin", "http://[::1]:8080")],
            &[("Host", "a"), ("Sec-Fetch-Site", "same-origin")],
            &[("Host", "a"), ("Sec-Fetch-Site", "none")],
            &[
                ("Host", "a"),
                ("Origin", "https://shop.example"),
                ("Sec-Fetch-Site", "cross-site"),
            ],
            &[("Host", "a"), ("Origin", "http://10.0.0.7:8080")],
        ] {
            assert_eq!(check(&open_to_all(), fields), Ok(()), "{fields:?}");
        }
    }

    /// Another host, another port, no origin that could be named, or the browser's word that the
    /// page is of another site.
    #[test]
    fn a_page_of_another_origin_may_not_trade() {
        for fields in [
            &[("Host", "a"), ("Origin", "http://b")][..],
            &[("Host", "a:8080"), ("Origin", "http://a:8081")],
            &[("Host", "a:8080"), ("Origin", "http://a")],
            &[("Host", "a"), ("Origin", "https://a:80")],
            &[("Host", "a"), ("Origin", "http://a.b")],
            &[("Host", "a"), ("Origin", "http://b@a")],
            &[("Host", "a"), ("Origin", "http://a/")],
            &[("Host", "a"), ("Origin", "ftp://a")],
            &[("Host", "a"), ("Origin", "a")],
            &[("Host", "a"), ("Origin", "null")],
            &[("Host", "a"), ("Origin", "")],
            &[("Origin", "http://a")],
            &[
                ("Host", "a"),
                ("Origin", "http://a"),
                ("origin", "http://a"),
            ],
            &[("Host", "a"), ("Origin", "http://shop.example")],
            &[("Host", "a"), ("Sec-Fetch-Site", "cross-site")],
            &[("Host", "a"), ("Sec-Fetch-Site", "same-site")],
            &[("Host", "a"), ("Sec-Fetch-Site", "of-the-future")],
            &[
                ("Host", "a"),
                ("Origin", "http://a"),
                ("Sec-Fetch-Site", "same-site"),
            ],
        ] {
            let foreign = check(&open_to_all(), fields).expect_err(&format!("{fields:?}"));
            let message = foreign.to_string();
            assert!(message.contains("FRONTEND_ORIGINS"), "{message}");
            for (_, origin) in fields.iter().filter(|(name, _)| *name == "Origin") {
                assert!(message.contains(origin), "{message}");
            }
        }
    }

    /// On loopback a name that somebody else could have made lead here is foreign, unless listed.
    #[test]
    fn a_name_that_was_rebound_to_loopback_may_not_trade() {
        let origins = Origins::new("http://bazaar.test:8080".parse().expect("one"), true);
        for (host, may) in [
            ("127.0.0.1:8080", true),
            ("[::1]:8080", true),
            ("localhost:8080", true),
            ("LOCALHOST", true),
            ("my.localhost:8080", true),
            ("bazaar.test:8080", true),
            ("bazaar.test", false),
            ("evil.example:8080", false),
            ("127.0.0.1.evil.example:8080", false),
            ("evillocalhost", false),
            ("[::1.evil]", false),
        ] {
            let fields = [("Host", host), ("Origin", &*format!("http://{host}"))];
            assert_eq!(check(&origins, &fields).is_ok(), may, "{host}");
        }
        // A program may call it by any name.
        assert_eq!(check(&origins, &[("Host", "evil.example")]), Ok(()));
    }

    /// The setting: origins only, and nothing that means all of them.
    #[test]
    fn lists() {
        assert_eq!("".parse(), Ok(OriginList::default()));
        for wrong in [
            "*",
            "shop.example",
            "https://shop.example/",
            "null",
            "https://",
        ] {
            assert!(wrong.parse::<OriginList>().is_err(), "{wrong}");
        }
    }
}
