//! Values that several settings have.

use std::str::FromStr;

/// `on` or `off` (also `true`/`false`, `1`/`0`, `yes`/`no`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switch(pub bool);

impl FromStr for Switch {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "on" | "true" | "1" | "yes" => Ok(Self(true)),
            "off" | "false" | "0" | "no" => Ok(Self(false)),
            _ => Err("write on or off"),
        }
    }
}

/// A whole number of at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Positive(pub usize);

impl FromStr for Positive {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse()
            .ok()
            .filter(|n| *n > 0)
            .map(Self)
            .ok_or("write a whole number of at least 1")
    }
}

/// A whole number from `LEAST` to `MOST`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whole<const LEAST: u64, const MOST: u64>(pub u64);

impl<const LEAST: u64, const MOST: u64> FromStr for Whole<LEAST, MOST> {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.parse().ok();
        number
            .filter(|n| (LEAST..=MOST).contains(n))
            .map(Self)
            .ok_or_else(|| format!("write a whole number from {LEAST} to {MOST}"))
    }
}

/// The servers that can stand behind a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerKind {
    /// Our own, with limits on everything that a stranger can ask.
    Edge,
    /// tiny_http.
    TinyHttp,
}

impl FromStr for ServerKind {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "edge" => Ok(Self::Edge),
            "tiny_http" => Ok(Self::TinyHttp),
            _ => Err("write edge or tiny_http"),
        }
    }
}
