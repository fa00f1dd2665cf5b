//! The table of the public routes.

use crate::page::{self, Asset};
use common::http::Response;
use common::http::routes::{Found, Missed, Route, RouteTable};
use percent_encoding::percent_decode_str;
use std::borrow::Cow;

/// The meaning of a request: its method and path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// One stock.
    Stock,
    /// All stocks.
    Stocks,
    /// Places an order.
    PlaceOrder,
    /// A page of orders.
    Orders,
    /// One order.
    Order,
    /// The description of this API.
    OpenApi,
    /// The state of all services.
    Status,
    /// Whether the process answers.
    Livez,
    /// Whether it can serve trades.
    Readyz,
    /// The live feed.
    Events,
    /// The page, or a file of it.
    Page(&'static Asset),
}

/// The busiest come first: rows are tried in their order.
const ROWS: &[Route<Endpoint>] = &[
    Route::get("/stocks/{name}", Endpoint::Stock),
    Route::get("/orders", Endpoint::Orders),
    Route::post("/orders", Endpoint::PlaceOrder),
    Route::get("/orders/{number}", Endpoint::Order),
    Route::get("/stocks", Endpoint::Stocks),
    Route::get("/events", Endpoint::Events),
    Route::get("/status", Endpoint::Status),
    Route::get("/livez", Endpoint::Livez),
    Route::get("/readyz", Endpoint::Readyz),
    Route::get("/openapi.json", Endpoint::OpenApi),
    Route::get("/", Endpoint::Page(&page::MARKUP)),
    Route::get("/page.css", Endpoint::Page(&page::STYLE)),
    Route::get("/page.js", Endpoint::Page(&page::SCRIPT)),
    Route::get("/feed.js", Endpoint::Page(&page::FEED_SCRIPT)),
    Route::get("/icon.svg", Endpoint::Page(&page::ICON)),
];
const ROUTES: RouteTable<Endpoint> = RouteTable::new(ROWS).with_options();

/// The route of a request. One slash at the end of its path is ignored: clients written for other
/// implementations send it.
///
/// # Errors
/// When the path or the method is not in the table.
pub fn find<'p>(method: &str, path: &'p str) -> Result<Found<'p, Endpoint>, Missed> {
    // Not `//`: an empty segment is a name that is missing, which should be said.
    let path = match path.strip_suffix('/') {
        Some(shorter) if !shorter.is_empty() && !shorter.ends_with('/') => shorter,
        _ => path,
    };
    ROUTES.find(method, path)
}

/// The name of a stock from its segment of the path.
///
/// # Errors
/// A 400 response: the bytes are no text.
pub fn stock_name(segment: &str) -> Result<Cow<'_, str>, Response> {
    percent_decode_str(segment).decode_utf8().map_err(|_| {
        Response::error(
            400,
            "the name in the path is not UTF-8: percent-encode the bytes of its UTF-8 form",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each path finds its row, with one slash behind it or none.
    #[test]
    fn paths() {
        for (path, endpoint, parameter) in [
            ("/stocks", Endpoint::Stocks, ""),
            ("/stocks/", Endpoint::Stocks, ""),
            ("/stocks/FishCo", Endpoint::Stock, "FishCo"),
            ("/stocks/FishCo/", Endpoint::Stock, "FishCo"),
            ("/orders", Endpoint::Orders, ""),
            ("/orders/", Endpoint::Orders, ""),
            ("/orders/0", Endpoint::Order, "0"),
            ("/orders/7/", Endpoint::Order, "7"),
            ("/openapi.json", Endpoint::OpenApi, ""),
            ("/status", Endpoint::Status, ""),
            ("/status/", Endpoint::Status, ""),
            ("/livez", Endpoint::Livez, ""),
            ("/readyz", Endpoint::Readyz, ""),
            ("/events", Endpoint::Events, ""),
            ("/", Endpoint::Page(&page::MARKUP), ""),
            ("/page.js", Endpoint::Page(&page::SCRIPT), ""),
        ] {
            for method in ["GET", "HEAD"] {
                let found = find(method, path).expect(path);
                assert_eq!((found.value, found.parameter), (endpoint, parameter));
            }
        }
        for path in [
            "/stocks//",
            "//",
            "/stocks/a/b",
            "/page",
            "/Stocks",
            "/status//",
        ] {
            assert_eq!(find("GET", path), Err(Missed::Path), "{path}");
        }
    }

    /// Only `/orders` takes POST; nothing takes another method.
    #[test]
    fn methods() {
        let placed = find("POST", "/orders/").expect("a row");
        assert_eq!(placed.value, Endpoint::PlaceOrder);
        for (method, path, methods) in [
            ("DELETE", "/orders", "GET, HEAD, POST, OPTIONS"),
            ("POST", "/stocks/FishCo", "GET, HEAD, OPTIONS"),
            ("OPTIONS", "/", "GET, HEAD, OPTIONS"),
        ] {
            let Err(Missed::Method { allow, asked, .. }) = find(method, path) else {
                panic!("{path} takes {method}");
            };
            assert_eq!((allow.as_str(), asked), (methods, method == "OPTIONS"));
        }
    }

    /// Names are decoded after the path was taken apart: an encoded slash belongs to the name.
    #[test]
    fn names_are_decoded() {
        for (segment, name) in [("Fish%20Co%2f%C3%A9", "Fish Co/é"), ("a+b", "a+b")] {
            let found = find("GET", &format!("/stocks/{segment}")).map(|found| found.value);
            assert_eq!(found, Ok(Endpoint::Stock));
            assert_eq!(stock_name(segment).expect("a name"), name);
        }
        assert_eq!(stock_name("%ff").expect_err("no text").status, 400);
    }
}
