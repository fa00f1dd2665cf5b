//! The page at `GET /`: markup, style, script and icon, embedded in the binary. It needs nothing
//! from elsewhere and nothing is built for it.
//!
//! It trusts nothing but its own files, each of which comes with the same strict fields: no script
//! or style inside the markup, no resource of another origin, no frame around it, no use of a form
//! by the browser itself. The script writes what it receives as text, never as markup, and the
//! browser refuses anything else (trusted types); the one script that it may start is
//! the shared worker that follows the feed for all tabs.

use common::http::Response;

/// A file of the page.
#[derive(Debug, PartialEq, Eq)]
pub struct Asset {
    content_type: &'static str,
    body: &'static str,
}

impl Asset {
    const fn new(content_type: &'static str, body: &'static str) -> Self {
        Self { content_type, body }
    }
}

/// `GET /`.
pub static MARKUP: Asset = Asset::new("text/html; charset=utf-8", include_str!("page.html"));
/// `GET /page.css`.
pub static STYLE: Asset = Asset::new("text/css; charset=utf-8", include_str!("page.css"));
/// `GET /page.js`.
pub static SCRIPT: Asset = Asset::new("text/javascript; charset=utf-8", include_str!("page.js"));
/// `GET /feed.js`, the shared worker.
pub static FEED_SCRIPT: Asset =
    Asset::new("text/javascript; charset=utf-8", include_str!("feed.js"));
/// `GET /icon.svg`.
pub static ICON: Asset = Asset::new("image/svg+xml", include_str!("icon.svg"));

/// Header fields by which browsers refuse all that the page does not need, and keep nothing
/// unasked, so that a newer binary is a newer page.
const FIELDS: [(&str, &str); 7] = [
    (
        "Content-Security-Policy",
        // No inline script or style, so that text which slipped into the markup runs nothing.
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types feed",
    ),
    // For browsers that do not know `frame-ancestors`.
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    (
        "Permissions-Policy",
        "camera=(), geolocation=(), microphone=()",
    ),
    // Kept, and asked about each time: a page of an older binary would speak another API.
    ("Cache-Control", "no-cache"),
];

impl Asset {
    /// The response for it, with the strict header fields.
    pub fn response(&self) -> Response {
        let answer = Response::text(200, self.content_type, self.body);
        FIELDS.into_iter().fold(answer, |answer, (name, value)| {
            answer.with_header(name, value)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::routes::{Endpoint, find};

    const ASSETS: [&Asset; 5] = [&MARKUP, &STYLE, &SCRIPT, &FEED_SCRIPT, &ICON];

    fn is_asset(path: &str) -> bool {
        find("GET", path).is_ok_and(|found| matches!(found.value, Endpoint::Page(_)))
    }

    /// The page needs no other file than those embedded, has no script, style or handler inside its
    /// markup, and the script never writes markup: the policy would refuse each of these, and the
    /// page would be broken.
    #[test]
    fn nothing_that_the_policy_refuses() {
        let page = MARKUP.body;
        let named = |before: &str| -> Vec<&str> {
            page.split(before)
                .skip(1)
                .filter_map(|rest| rest.split('"').next())
                .collect()
        };
        let files: Vec<&str> = [
            "<script src=\"",
            "<link rel=\"icon\" href=\"",
            "<link rel=\"stylesheet\" href=\"",
        ]
        .into_iter()
        .flat_map(named)
        .collect();
        assert_eq!(files.len(), 4, "{files:?}");
        assert_eq!(
            page.matches(" src=").count() + page.matches("<link").count(),
            4,
            "no other file is asked for"
        );
        assert!(files.iter().all(|file| is_asset(file)), "{files:?}");
        for wrong in [
            "<style",
            " style=",
            " onclick=",
            " onsubmit=",
            "javascript:",
        ] {
            assert!(!page.contains(wrong), "{wrong}");
        }
        let script = [SCRIPT.body, FEED_SCRIPT.body].concat();
        for wrong in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "http://",
            "https://",
        ] {
            assert!(
                !script
                    .replace("http://www.w3.org/2000/svg", "")
                    .contains(wrong),
                "{wrong}"
            );
        }
        assert!(!STYLE.body.contains("url("));
    }

    /// Every file is sent with the fields that keep others out of it.
    #[test]
    fn strict_fields() {
        for asset in ASSETS {
            let headers = asset.response().headers;
            let policy = headers
                .iter()
                .find(|(name, _)| *name == "Content-Security-Policy")
                .map(|(_, value)| value);
            let policy = policy.expect("a policy");
            assert!(
                policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
                "{policy}"
            );
            assert!(
                !policy.contains("unsafe") && !policy.contains('*'),
                "{policy}"
            );
        }
    }
}
