//! `bazaar healthcheck`: asks a service once, for the health check of a container. The image has no
//! other program that speaks HTTP.

use client::api::Api;
use common::settings::addresses::ServiceUrl;
use common::terminal::escape;
use std::str::FromStr;
use std::time::Duration;

/// Bound on each step of the request: connecting, sending, waiting, reading. Below the time that an
/// engine gives the whole check, so that the reason gets into its record.
const TIMEOUT: Duration = Duration::from_secs(1);
/// The path that every service answers without a token.
const DEFAULT_PATH: &str = "/livez";
/// Characters of an answer that are shown: engines keep the newest checks in memory.
const SHOWN: usize = 200;

/// The address of a service's answer: its base URL and a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthUrl {
    base: String,
    path: String,
}

impl FromStr for HealthUrl {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let scheme = text.find("://").map_or(0, |at| at + "://".len());
        let end = text[scheme..]
            .find('/')
            .map_or(text.len(), |at| scheme + at);
        let (base, path) = text.split_at(end);
        let ServiceUrl(base) = base.parse()?;
        if path.contains(|c: char| !c.is_ascii_graphic() || "?#".contains(c)) {
            return Err(format!(
                "'{}' is no path of a health check: write /livez or /readyz",
                escape(path)
            ));
        }
        let path = if path.len() > 1 { path } else { DEFAULT_PATH };
        Ok(Self {
            base,
            path: path.into(),
        })
    }
}

/// Asks once. Returns the line to print.
///
/// # Errors
/// When no answer came, or another one than 200; with the reason, on one line.
pub fn ask(url: &HealthUrl) -> Result<String, String> {
    let HealthUrl { base, path } = url;
    let answer = Api::with_timeout(base, TIMEOUT)
        .get(path)
        .map_err(|error| format!("{base}{path}: {error}"))?;
    if answer.status == 200 {
        return Ok(format!("{base}{path}: 200"));
    }
    let body: String = answer.body.trim().chars().take(SHOWN).collect();
    Err(format!("{base}{path}: {} {}", answer.status, escape(&body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A base URL alone means the path that every service has; a URL that cannot work is refused
    /// with the remedy.
    #[test]
    fn urls_of_health_checks() {
        let parts = |text: &str| {
            let url = text.parse::<HealthUrl>();
            url.map(|url| (url.base, url.path))
        };
        let expected = |base: &str, path: &str| Ok((base.into(), path.into()));
        let base = "http://127.0.0.1:7100";
        for alone in [base, "http://127.0.0.1:7100/"] {
            assert_eq!(parts(alone), expected(base, "/livez"));
        }
        assert_eq!(
            parts("http://[::1]:8080/readyz"),
            expected("http://[::1]:8080", "/readyz")
        );
        for (wrong, remedy) in [
            ("catalog:7100/livez", "write http://host:port"),
            ("https://a:1/livez", "plain HTTP"),
            ("http://0.0.0.0:7100/livez", "write http://127.0.0.1:7100"),
            ("http://a:1/livez?x", "write /livez"),
            ("http://a:1/a b", "write /livez"),
            ("/livez", "write http://host:port"),
        ] {
            let error = parts(wrong).expect_err(wrong);
            assert!(error.contains(remedy), "{wrong}: {error}");
        }
    }
}
