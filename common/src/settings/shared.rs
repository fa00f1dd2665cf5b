//! The settings that every service has.

use super::{Positive, ServerKind, Settings, Token};
use crate::http::access::{Access, host_name};
use crate::logging::LogSettings;
use std::str::FromStr;

/// The settings that every service has.
#[derive(Debug, Clone)]
pub struct Shared {
    /// The token that internal calls must show; without one they are taken from loopback only.
    pub token: Option<Token>,
    /// Threads of each server.
    pub threads: usize,
    /// Which server takes internal calls.
    pub internal_server: ServerKind,
    /// Names under which internal callers know this service.
    pub names: Vec<String>,
    /// Logging.
    pub log: LogSettings,
}

impl Shared {
    /// Reads them.
    pub fn read(settings: &mut Settings) -> Self {
        // Where it cannot be asked, two: one thread would stop everything when it blocks.
        let cores = std::thread::available_parallelism()
            .map_or(2, std::num::NonZero::get)
            .to_string();
        Self {
            token: Token::read(
                settings,
                "secret that internal calls must show; unset: they are taken from loopback only",
            ),
            threads: settings
                .get::<Positive>("BAZAAR_THREADS", &cores, "threads of each server")
                .0,
            internal_server: settings.get(
                "BAZAAR_INTERNAL_SERVER",
                "tiny_http",
                "server of internal calls: tiny_http, or edge where strangers reach it",
            ),
            names: settings
                .optional::<Names>(
                    "BAZAAR_HOSTS",
                    "further host names, separated by commas, that internal callers use for this \
                     service",
                )
                .map_or_else(Vec::new, |names| names.0),
            log: LogSettings {
                level: settings.get(
                    "BAZAAR_LOG",
                    "info",
                    "what is logged: error, warn, info, debug or trace",
                ),
                format: settings.get(
                    "BAZAAR_LOG_FORMAT",
                    "text",
                    "how it is logged: text or json",
                ),
            },
        }
    }

    /// The token's text.
    pub fn token_text(&self) -> Option<&str> {
        self.token.as_ref().map(|t| t.0.as_str())
    }

    /// Callers know this service by the host of this URL too.
    pub fn is_known_as(&mut self, url: &str) {
        // Given as a URL or as an address.
        let host = url.split_once("://").map_or(url, |(_, rest)| rest);
        self.names.push(host_name(host).into());
    }

    /// The rule that lets callers into an internal listener.
    pub fn internal_access(&self) -> Access {
        Access::Internal {
            token: self.token_text().map(Into::into),
            names: self.names.clone().into(),
        }
    }
}

/// Host names, separated by commas.
struct Names(Vec<String>);

impl FromStr for Names {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let names: Vec<String> = text.split(',').map(|name| name.trim().into()).collect();
        let fits = |name: &String| {
            let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
            !name.is_empty() && name.bytes().all(known)
        };
        if names.iter().all(fits) {
            Ok(Self(names))
        } else {
            Err("write host names without ports, separated by commas")
        }
    }
}
