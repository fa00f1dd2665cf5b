//! Holds every answer of a front-end that a test's clients get against its description, `GET
//! /openapi.json`: status, content type, header fields and body. An answer that does not fit fails
//! the test.

use client::api::{RawResponse, observe};
use frontend::api::openapi;
use jsonschema::Validator;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

static CONTRACT: LazyLock<Contract> = LazyLock::new(|| Contract::new(openapi::TEXT));
/// Internal listeners, and fake servers of tests, are none of the contract's business.
static HELD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// From now on every answer from these front-ends is checked.
pub fn hold(urls: Vec<String>) {
    HELD.lock().extend(urls);
    observe(|base, method, path, answer| {
        if HELD.lock().contains(base)
            && let Err(why) = CONTRACT.check(method, path, answer)
        {
            panic!("the answer to {method} {path} does not fit its description: {why}: {answer:?}");
        }
    });
}

/// A description, ready to check answers.
#[derive(Debug)]
pub struct Contract {
    description: Value,
    /// By pattern, method in lower case, and status.
    responses: BTreeMap<(String, String, String), Described>,
    /// Requests without a description: unknown paths and methods.
    error: Validator,
}

#[derive(Debug)]
struct Described {
    headers: Vec<(String, bool, Validator)>,
    /// Content type and body.
    content: Option<(String, Body)>,
}

#[derive(Debug)]
enum Body {
    Json(Validator),
    /// A stream of events, or another text.
    Text,
}

impl Contract {
    /// Reads a description.
    ///
    /// # Panics
    /// When it is none.
    pub fn new(text: &str) -> Self {
        let description: Value = serde_json::from_str(text).expect("JSON");
        let mut responses = BTreeMap::new();
        for (pattern, methods) in fields(&description["paths"]) {
            for (method, operation) in fields(methods) {
                for (status, response) in fields(&operation["responses"]) {
                    let described = described(&description, resolved(&description, response));
                    responses.insert((pattern.clone(), method.clone(), status.clone()), described);
                }
            }
        }
        let error = validator(
            &description,
            &json!({ "$ref": "#/components/schemas/Error" }),
        );
        Self {
            description,
            responses,
            error,
        }
    }

    /// Checks an answer.
    ///
    /// # Errors
    /// The mismatch.
    pub fn check(&self, method: &str, path: &str, answer: &RawResponse) -> Result<(), String> {
        let path = path.split('?').next().unwrap_or_default();
        let pattern = self.pattern(path);
        let methods = pattern.map(|pattern| &self.description["paths"][pattern]);
        // HEAD is GET without the body.
        let described_as = if method == "HEAD" {
            "get".into()
        } else {
            method.to_lowercase()
        };
        match (pattern, methods) {
            (Some(_), _) if method == "OPTIONS" && answer.status == 204 => answer
                .header("allow")
                .map(drop)
                .ok_or_else(|| "Allow is missing".into()),
            (Some(pattern), Some(methods)) if methods.get(&described_as).is_some() => {
                let key = (pattern.to_owned(), described_as, answer.status.to_string());
                let described = self
                    .responses
                    .get(&key)
                    .ok_or_else(|| format!("status {} is not described", answer.status))?;
                described.check(answer, method == "HEAD")
            }
            _ if answer.status >= 400 => fits(&self.error, &answer.body),
            _ => Err("a success at a path or method that is not described".into()),
        }
    }

    /// The pattern that a path fits; one that is written out goes first.
    fn pattern(&self, path: &str) -> Option<&str> {
        // A slash at the end says nothing.
        let path = path
            .strip_suffix('/')
            .filter(|p| !matches!(*p, "" | "/"))
            .unwrap_or(path);
        let fits = |pattern: &str| {
            let (mut pattern, mut path) = (pattern.split('/'), path.split('/'));
            loop {
                match (pattern.next(), path.next()) {
                    (None, None) => return true,
                    (Some(p), Some(segment))
                        if p == segment || (p.starts_with('{') && !segment.is_empty()) => {}
                    _ => return false,
                }
            }
        };
        let mut patterns: Vec<_> = fields(&self.description["paths"])
            .map(|(pattern, _)| pattern.as_str())
            .collect();
        patterns.sort_by_key(|pattern| pattern.contains('{'));
        patterns.into_iter().find(|pattern| fits(pattern))
    }

    /// Checks every example of the description against the schema beside it. Gives their number.
    ///
    /// # Errors
    /// The first that does not fit.
    pub fn check_examples(&self) -> Result<usize, String> {
        let mut checked = 0;
        self.walk(&self.description, &mut |with_schema| {
            let schema = validator(&self.description, &with_schema["schema"]);
            let one = with_schema.get("example").into_iter();
            let many = with_schema
                .get("examples")
                .into_iter()
                .flat_map(fields)
                .map(|(_, example)| &example["value"]);
            for example in one.chain(many) {
                checked += 1;
                fits_value(&schema, example).map_err(|why| format!("{example}: {why}"))?;
            }
            Ok(())
        })?;
        Ok(checked)
    }

    fn walk(
        &self,
        at: &Value,
        visit: &mut impl FnMut(&Value) -> Result<(), String>,
    ) -> Result<(), String> {
        match at {
            Value::Object(object) => {
                if object.contains_key("schema") {
                    visit(at)?;
                }
                object
                    .values()
                    .try_for_each(|value| self.walk(value, visit))
            }
            Value::Array(items) => items.iter().try_for_each(|value| self.walk(value, visit)),
            _ => Ok(()),
        }
    }
}

impl Described {
    fn check(&self, answer: &RawResponse, head_only: bool) -> Result<(), String> {
        for (name, required, schema) in &self.headers {
            match answer.header(&name.to_lowercase()) {
                Some(value) => {
                    fits_value(schema, &json!(value)).map_err(|why| format!("{name}: {why}"))?
                }
                None if *required => return Err(format!("{name} is missing")),
                None => {}
            }
        }
        let Some((content_type, body)) = &self.content else {
            return Ok(());
        };
        let sent = answer.header("content-type").unwrap_or_default();
        if !sent.starts_with(content_type.as_str()) {
            return Err(format!("Content-Type is '{sent}', not '{content_type}'"));
        }
        match body {
            _ if head_only => answer
                .body
                .is_empty()
                .then_some(())
                .ok_or_else(|| "HEAD has a body".into()),
            Body::Json(schema) => fits(schema, &answer.body),
            Body::Text => Ok(()),
        }
    }
}

fn described(description: &Value, response: &Value) -> Described {
    let header = |(name, header): (&String, &Value)| {
        let header = resolved(description, header);
        (
            name.clone(),
            header["required"] == json!(true),
            validator(description, &header["schema"]),
        )
    };
    let content = response
        .get("content")
        .into_iter()
        .flat_map(fields)
        .next()
        .map(|(kind, content)| {
            let json = kind == "application/json";
            (
                kind.clone(),
                if json {
                    Body::Json(validator(description, &content["schema"]))
                } else {
                    Body::Text
                },
            )
        });
    Described {
        headers: response
            .get("headers")
            .into_iter()
            .flat_map(fields)
            .map(header)
            .collect(),
        content,
    }
}

/// A schema, with the description's components to refer to.
fn validator(description: &Value, schema: &Value) -> Validator {
    let whole = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "allOf": [schema],
        "components": description["components"],
    });
    jsonschema::validator_for(&whole)
        .unwrap_or_else(|error| panic!("{schema} is no schema: {error}"))
}

fn fits(schema: &Validator, body: &str) -> Result<(), String> {
    let value =
        serde_json::from_str(body).map_err(|error| format!("the body is not JSON: {error}"))?;
    fits_value(schema, &value)
}

fn fits_value(schema: &Validator, value: &Value) -> Result<(), String> {
    schema
        .validate(value)
        .map_err(|error| format!("{error} at '{}'", error.instance_path()))
}

fn fields(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object.as_object().into_iter().flat_map(Map::iter)
}

fn resolved<'a>(description: &'a Value, value: &'a Value) -> &'a Value {
    match value.get("$ref").and_then(Value::as_str) {
        Some(to) => description
            .pointer(to.trim_start_matches('#'))
            .unwrap_or_else(|| panic!("{to} is not there")),
        None => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> RawResponse {
        let json = [
            ("content-type", "application/json"),
            ("x-request-id", "t"),
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
        ];
        let headers = json
            .iter()
            .chain(headers)
            .map(|(n, v)| ((*n).into(), (*v).into()))
            .collect();
        RawResponse {
            status,
            headers,
            body: body.into(),
        }
    }

    /// The checker takes what fits, and finds each way in which an answer may not fit.
    #[test]
    fn finds_what_does_not_fit() {
        let stock = r#"{"data":{"name":"FishCo","price":5.99,"quantity":1}}"#;
        let missing = r#"{"error":{"code":404,"message":"no"}}"#;
        let location = [("location", "/orders/7")];
        let receipt = r#"{"data":{"transaction_number":7}}"#;
        let good = [
            ("GET", "/stocks/Fish%20Co?x=1", answer(200, &[], stock)),
            ("HEAD", "/stocks/FishCo", answer(200, &[], "")),
            ("POST", "/orders", answer(200, &location, receipt)),
            ("GET", "/nothing", answer(404, &[], missing)),
            ("OPTIONS", "/stocks", answer(204, &[("allow", "GET")], "")),
        ];
        for (method, path, answer) in good {
            assert_eq!(
                CONTRACT.check(method, path, &answer),
                Ok(()),
                "{method} {path}"
            );
        }
        let mut bare = answer(200, &[], stock);
        bare.headers.truncate(1);
        let mut text = answer(200, &[], stock);
        text.headers[0].1 = "text/plain".into();
        let bad = [
            (
                "GET",
                "/stocks/FishCo",
                answer(200, &[], &stock.replace(":1", ":-1")),
                "quantity",
            ),
            (
                "GET",
                "/stocks/FishCo",
                answer(200, &[], &stock.replace("}}", ",\"x\":1}}")),
                "x",
            ),
            (
                "GET",
                "/stocks/FishCo",
                answer(201, &[], stock),
                "status 201",
            ),
            ("GET", "/stocks/FishCo", answer(404, &[], stock), "data"),
            ("GET", "/stocks/FishCo", answer(200, &[], "x"), "not JSON"),
            ("HEAD", "/stocks/FishCo", answer(200, &[], stock), "HEAD"),
            ("GET", "/stocks/FishCo", bare, "is missing"),
            ("GET", "/stocks/FishCo", text, "Content-Type"),
            (
                "POST",
                "/orders",
                answer(200, &[], receipt),
                "Location is missing",
            ),
            (
                "POST",
                "/orders",
                answer(200, &[("location", "7")], receipt),
                "Location",
            ),
            ("GET", "/nothing", answer(200, &[], stock), "not described"),
            ("GET", "/nothing", answer(404, &[], stock), "data"),
            ("OPTIONS", "/stocks", answer(204, &[], ""), "Allow"),
        ];
        for (method, path, answer, word) in bad {
            let why = CONTRACT.check(method, path, &answer).expect_err(path);
            assert!(why.contains(word), "{method} {path}: {why}");
        }
    }

    /// Every example of the description fits the schema beside it.
    #[test]
    fn examples_fit() {
        let checked = CONTRACT.check_examples().expect("all fit");
        assert!(checked > 30, "{checked} examples");
    }
}
