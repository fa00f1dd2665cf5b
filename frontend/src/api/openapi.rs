//! `GET /openapi.json`: the description of the public API for programs, embedded in the binary. The
//! system tests hold every answer against it.

use common::http::Response;

/// The description.
pub const TEXT: &str = include_str!("openapi.json");

/// It changes with the version only; five minutes after an upgrade every client has the new one.
const CACHE_CONTROL: &str = "public, max-age=300";

/// The answer.
pub fn response() -> Response {
    Response::text(200, "application/json", TEXT).with_header("Cache-Control", CACHE_CONTROL)
}

#[cfg(test)]
mod tests {
    use super::super::routes::find;
    use super::*;
    use serde_json::Value;

    /// The description is of this version, describes no path that is not routed, and each method
    /// that it has is one that the path takes.
    #[test]
    fn fits_the_routes() {
        let description: Value = serde_json::from_str(TEXT).expect("JSON");
        assert_eq!(description["info"]["version"], env!("CARGO_PKG_VERSION"));
        let paths = description["paths"].as_object().expect("paths");
        for (pattern, methods) in paths {
            for method in methods.as_object().expect("methods").keys() {
                let found = find(&method.to_uppercase(), pattern).map(|found| found.pattern);
                assert_eq!(found, Ok(pattern.as_str()), "{method} {pattern}");
            }
        }
    }

    /// Linters ask of every description that it says who has to authenticate (nobody), and under
    /// which license it may be used; and that no list of required fields is empty.
    #[test]
    fn linters_have_nothing_to_say() {
        fn empty_lists(value: &Value) -> usize {
            match value {
                Value::Object(fields) => {
                    let own = fields
                        .get("required")
                        .is_some_and(|r| r == &Value::Array(vec![]));
                    usize::from(own) + fields.values().map(empty_lists).sum::<usize>()
                }
                Value::Array(items) => items.iter().map(empty_lists).sum(),
                _ => 0,
            }
        }
        let description: Value = serde_json::from_str(TEXT).expect("JSON");
        assert_eq!(description["security"], Value::Array(vec![]));
        assert_eq!(description["info"]["license"]["identifier"], "Apache-2.0");
        assert_eq!(empty_lists(&description), 0);
    }

    /// Every reference leads somewhere.
    #[test]
    fn references() {
        fn check(value: &Value, whole: &Value) -> usize {
            match value {
                Value::Object(fields) => {
                    let own = fields.get("$ref").and_then(Value::as_str).map(|to| {
                        assert!(
                            whole.pointer(to.trim_start_matches('#')).is_some(),
                            "{to} is not there"
                        );
                    });
                    usize::from(own.is_some())
                        + fields.values().map(|v| check(v, whole)).sum::<usize>()
                }
                Value::Array(items) => items.iter().map(|v| check(v, whole)).sum(),
                _ => 0,
            }
        }
        let description: Value = serde_json::from_str(TEXT).expect("JSON");
        assert!(check(&description, &description) > 50);
    }
}
