//! The query of `GET /orders`, checked strictly: each mistake is named with the parameter and the
//! remedy.

use common::timing::{MAX_ORDERS_PAGE, ORDERS_PAGE};
use common::wire::replica::PageRequest;
use percent_encoding::percent_decode_str;

const EXAMPLE: &str = "/orders?after=99&limit=100";

/// The page that a query asks for; without a query the first one.
///
/// # Errors
/// The mistake, for a 400.
pub fn parse(query: Option<&str>) -> Result<PageRequest, String> {
    let (mut after, mut limit) = (None, None);
    for part in query
        .unwrap_or_default()
        .split('&')
        // `a&&b` and a lone `?` are no mistakes that anybody has to mend.
        .filter(|part| !part.is_empty())
    {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        // Decoded before they are compared: a client may encode any character.
        let (name, value) = (decoded(name), decoded(value));
        let slot = match name.as_str() {
            "after" => &mut after,
            "limit" => &mut limit,
            other => {
                return Err(format!(
                    "there is no parameter '{}': write such as {EXAMPLE}",
                    short(other)
                ));
            }
        };
        if slot.replace(value).is_some() {
            return Err(format!("the parameter '{name}' comes twice: write it once"));
        }
    }
    let first = match &after {
        None => 0,
        // A number beyond 64 bits is beyond every log, as the largest one is; after that one there
        // is nothing, and nothing is what this page shows.
        Some(text) if is_number(text) => text.parse::<u64>().unwrap_or(u64::MAX).saturating_add(1),
        Some(text) => {
            return Err(format!(
                "the parameter 'after' is '{}': write the number of an order, or leave it out to \
                 begin with the first",
                short(text)
            ));
        }
    };
    let limit = match &limit {
        None => ORDERS_PAGE,
        Some(text) => is_number(text)
            .then(|| text.parse().ok())
            .flatten()
            .filter(|limit| (1..=MAX_ORDERS_PAGE).contains(limit))
            .ok_or_else(|| {
                format!(
                    "the parameter 'limit' is '{}': write a number from 1 to {MAX_ORDERS_PAGE}",
                    short(text)
                )
            })?,
    };
    Ok(PageRequest {
        first,
        limit,
        // Each step of the reads says for itself which question it asks.
        found_only: false,
    })
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn short(text: &str) -> String {
    super::shortened(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both parameters may be left out; numbers of any size are numbers.
    #[test]
    fn good_queries() {
        for (query, first, limit) in [
            (None, 0, 100),
            (Some(""), 0, 100),
            (Some("after=0"), 1, 100),
            (Some("limit=1000&after=7"), 8, 1_000),
            (Some("after=%31%30&limit=1"), 11, 1),
            (Some("after=18446744073709551615"), u64::MAX, 100),
            (Some("after=99999999999999999999999"), u64::MAX, 100),
        ] {
            assert_eq!(
                parse(query),
                Ok(PageRequest {
                    first,
                    limit,
                    found_only: false,
                }),
                "{query:?}"
            );
        }
    }

    /// Each wrong query is refused with the name of its parameter.
    #[test]
    fn wrong_queries() {
        for (query, named) in [
            ("after=", "after"),
            ("after=-1", "after"),
            ("after=1.0", "after"),
            ("after=+1", "after"),
            ("after", "after"),
            ("after=1&after=2", "after"),
            ("limit=0", "limit"),
            ("limit=1001", "limit"),
            ("limit=x", "limit"),
            ("limit=99999999999999999999999", "limit"),
            ("before=3", "before"),
        ] {
            let error = parse(Some(query)).expect_err(query);
            assert!(error.contains(&format!("'{named}'")), "{query}: {error}");
        }
    }
}
