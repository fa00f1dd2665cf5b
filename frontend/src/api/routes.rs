//! Which path is what, and which methods it takes.

use crate::page::{self, Asset};
use percent_encoding::percent_decode_str;
use std::borrow::Cow;

/// The meaning of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route<'a> {
    /// `/stocks/<name>`, decoded.
    Stock(Cow<'a, str>),
    /// `/stocks`.
    Stocks,
    /// `/orders`.
    Orders,
    /// `/orders/<number>`, as sent.
    Order(&'a str),
    /// `/openapi.json`.
    OpenApi,
    /// `/status`.
    Status,
    /// `/livez`.
    Livez,
    /// `/readyz`.
    Readyz,
    /// `/events`.
    Events,
    /// The page, or a part of it.
    Page(&'static Asset),
    /// The name in the path is no text.
    BadName,
    /// None of them.
    Unknown,
}

impl<'a> Route<'a> {
    /// The route of a path, as sent. One slash at its end is ignored: clients written for other
    /// implementations send it.
    #[must_use]
    pub fn of(path: &'a str) -> Self {
        let path = match path.strip_suffix('/') {
            Some(shorter) if !shorter.is_empty() && !shorter.ends_with('/') => shorter,
            _ => path,
        };
        match path {
            "/stocks" => Self::Stocks,
            "/orders" => Self::Orders,
            "/openapi.json" => Self::OpenApi,
            "/status" => Self::Status,
            "/livez" => Self::Livez,
            "/readyz" => Self::Readyz,
            "/events" => Self::Events,
            _ => {
                if let Some(name) = last_segment(path, "/stocks/") {
                    percent_decode_str(name)
                        .decode_utf8()
                        .map_or(Self::BadName, Self::Stock)
                } else if let Some(number) = last_segment(path, "/orders/") {
                    Self::Order(number)
                } else {
                    page::asset(path).map_or(Self::Unknown, Self::Page)
                }
            }
        }
    }

    /// The pattern, for metrics and messages.
    #[must_use]
    pub fn pattern(&self) -> &'static str {
        match self {
            Self::Stock(_) | Self::BadName => "/stocks/{name}",
            Self::Stocks => "/stocks",
            Self::Orders => "/orders",
            Self::Order(_) => "/orders/{number}",
            Self::OpenApi => "/openapi.json",
            Self::Status => "/status",
            Self::Livez => "/livez",
            Self::Readyz => "/readyz",
            Self::Events => "/events",
            Self::Page(_) => "/",
            Self::Unknown => "other",
        }
    }

    /// The methods that it takes, as the header `Allow` lists them.
    #[must_use]
    pub fn allow(&self) -> &'static str {
        match self {
            Self::Orders => "GET, HEAD, POST, OPTIONS",
            _ => "GET, HEAD, OPTIONS",
        }
    }
}

/// The rest behind `prefix`, when it is one segment and not empty.
fn last_segment<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    path.strip_prefix(prefix)
        .filter(|rest| !rest.is_empty() && !rest.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each path finds its route; names are decoded, and only one segment is a name.
    #[test]
    fn paths() {
        for (path, route) in [
            ("/stocks", Route::Stocks),
            ("/stocks/FishCo", Route::Stock("FishCo".into())),
            (
                "/stocks/Fish%20Co%2f%C3%A9",
                Route::Stock("Fish Co/é".into()),
            ),
            ("/stocks/a+b", Route::Stock("a+b".into())),
            ("/stocks/%ff", Route::BadName),
            ("/stocks/", Route::Stocks),
            ("/stocks/FishCo/", Route::Stock("FishCo".into())),
            ("/stocks//", Route::Unknown),
            ("//", Route::Unknown),
            ("/stocks/a/b", Route::Unknown),
            ("/orders", Route::Orders),
            ("/orders/0", Route::Order("0")),
            ("/orders/", Route::Orders),
            ("/orders/7/", Route::Order("7")),
            ("/openapi.json", Route::OpenApi),
            ("/status", Route::Status),
            ("/livez", Route::Livez),
            ("/readyz", Route::Readyz),
            ("/events", Route::Events),
            ("/", Route::Page(page::asset("/").expect("the page"))),
            ("/page", Route::Unknown),
            ("/Stocks", Route::Unknown),
            ("/status/", Route::Status),
            ("/status//", Route::Unknown),
        ] {
            assert_eq!(Route::of(path), route, "{path}");
        }
    }
}
