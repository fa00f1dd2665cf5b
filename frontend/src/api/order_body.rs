//! The body of `POST /orders`, checked strictly: each mistake is told with the field and the
//! remedy.

use common::timing::MAX_ORDER_QUANTITY;
use common::wire::order::Side;
use common::wire::public::NewOrder;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use std::fmt;

/// Longest name of a stock in bytes. A full batch of such names, escaped, stays below what an
/// internal listener takes.
pub const MAX_NAME_BYTES: usize = 1_000;

const EXAMPLE: &str = r#"{"name": "GameStart", "quantity": 1, "type": "buy"}"#;

/// The order in a body.
///
/// # Errors
/// What is wrong, for a 400.
pub fn parse(body: &[u8]) -> Result<NewOrder, String> {
    if body.is_empty() {
        return Err(format!(
            "the body is empty: send an order such as {EXAMPLE}"
        ));
    }
    let fields: Fields = serde_json::from_slice(body).map_err(|e| {
        format!("the body is not a JSON object ({e}): send an order such as {EXAMPLE}")
    })?;
    if let Some(problem) = fields.problem {
        return Err(problem);
    }
    Ok(NewOrder {
        name: name(fields.name)?,
        quantity: quantity(fields.quantity.as_ref())?,
        side: side(fields.side.as_ref())?,
    })
}

fn name(value: Option<Value>) -> Result<String, String> {
    const HOW: &str = r#"write the name of a stock as text, such as "GameStart""#;
    match value {
        None => Err(format!("the field 'name' is missing: {HOW}")),
        Some(Value::String(name)) if name.is_empty() => {
            Err(format!("the field 'name' is empty: {HOW}"))
        }
        Some(Value::String(name)) if name.len() > MAX_NAME_BYTES => Err(format!(
            "the field 'name' is longer than {MAX_NAME_BYTES} bytes: {HOW}"
        )),
        Some(Value::String(name)) => Ok(name),
        Some(_) => Err(format!("the field 'name' is not text: {HOW}")),
    }
}

fn quantity(value: Option<&Value>) -> Result<u64, String> {
    let how = format!("write a whole number from 1 to {MAX_ORDER_QUANTITY}, such as 12");
    let Some(value) = value else {
        return Err(format!("the field 'quantity' is missing: {how}"));
    };
    match value.as_u64() {
        Some(n) if (1..=MAX_ORDER_QUANTITY).contains(&n) => Ok(n),
        _ => Err(format!("the field 'quantity' is {}: {how}", shown(value))),
    }
}

fn side(value: Option<&Value>) -> Result<Side, String> {
    const HOW: &str = r#"write "buy" or "sell""#;
    match value {
        None => Err(format!("the field 'type' is missing: {HOW}")),
        Some(Value::String(text)) if text == "buy" => Ok(Side::Buy),
        Some(Value::String(text)) if text == "sell" => Ok(Side::Sell),
        Some(other) => Err(format!("the field 'type' is {}: {HOW}", shown(other))),
    }
}

/// A value for a message, shortened.
fn shown(value: &Value) -> String {
    let text = match value {
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "an object".into(),
        other => other.to_string(),
    };
    if text.chars().count() <= 40 {
        text
    } else {
        text.chars().take(40).chain("…".chars()).collect()
    }
}

/// The fields as they came. Unlike a derived struct this keeps what is wrong for a message of our
/// own, and notices a field that comes twice, which a map would swallow.
#[derive(Default)]
struct Fields {
    name: Option<Value>,
    quantity: Option<Value>,
    side: Option<Value>,
    problem: Option<String>,
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;
        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Fields::default();
                while let Some(key) = map.next_key::<String>()? {
                    let slot = match key.as_str() {
                        "name" => &mut fields.name,
                        "quantity" => &mut fields.quantity,
                        "type" => &mut fields.side,
                        other => {
                            let other: String = other.chars().take(40).collect();
                            let problem = format!(
                                "there is no field '{other}': an order has 'name', 'quantity' and 'type'"
                            );
                            fields.problem.get_or_insert(problem);
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    if slot.replace(map.next_value()?).is_some() {
                        fields
                            .problem
                            .get_or_insert(format!("the field '{key}' comes twice: write it once"));
                    }
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(FieldsVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(quantity: &str) -> Result<NewOrder, String> {
        parse(format!(r#"{{"name":"FishCo","quantity":{quantity},"type":"buy"}}"#).as_bytes())
    }

    /// Only whole numbers from 1 to a million are a quantity, in every spelling of JSON.
    #[test]
    fn quantities() {
        assert_eq!(order("1").expect("least").quantity, 1);
        assert_eq!(order("1000000").expect("most").quantity, 1_000_000);
        for wrong in [
            "0",
            "-1",
            "12.0",
            "1e3",
            "\"12\"",
            "null",
            "true",
            "[]",
            "{}",
            "1000001",
            "99999999999999999999",
            "-0",
        ] {
            let error = order(wrong).expect_err(wrong);
            assert!(
                error.contains("'quantity'") && error.contains("1 to 1000000"),
                "{wrong}: {error}"
            );
        }
    }

    /// Every other mistake names what is wrong.
    #[test]
    fn mistakes_are_named() {
        let long = format!(
            r#"{{"name":"{}","quantity":1,"type":"buy"}}"#,
            "x".repeat(1_001)
        );
        for (body, words) in [
            ("", "empty"),
            ("{", "not a JSON object"),
            ("[]", "not a JSON object"),
            ("null", "not a JSON object"),
            ("7 ", "not a JSON object"),
            (
                r#"{"name":"A","quantity":1,"type":"buy"} x"#,
                "not a JSON object",
            ),
            (
                r#"{"name":"A","quantity":01,"type":"buy"}"#,
                "not a JSON object",
            ),
            (r#"{"quantity":1,"type":"buy"}"#, "'name' is missing"),
            (
                r#"{"name":"","quantity":1,"type":"buy"}"#,
                "'name' is empty",
            ),
            (
                r#"{"name":7,"quantity":1,"type":"buy"}"#,
                "'name' is not text",
            ),
            (r#"{"name":"A","type":"buy"}"#, "'quantity' is missing"),
            (r#"{"name":"A","quantity":1}"#, "'type' is missing"),
            (
                r#"{"name":"A","quantity":1,"type":"Buy"}"#,
                "'type' is \"Buy\"",
            ),
            (
                r#"{"name":"A","quantity":1,"type":"buy","price":1}"#,
                "no field 'price'",
            ),
            (
                r#"{"name":"A","quantity":1,"type":"buy","name":"B"}"#,
                "'name' comes twice",
            ),
            (&long, "'name' is longer"),
        ] {
            let error = parse(body.as_bytes()).expect_err(body);
            assert!(error.contains(words), "{body}: {error}");
        }
        assert!(parse(b"{\"name\":\"\xff\"}").is_err(), "not UTF-8");
    }

    /// A right body is taken whatever the order of its fields, with escapes.
    #[test]
    fn right_bodies() {
        let parsed =
            parse(br#" {"type":"sell","name":"B\u006farCo","quantity":3} "#).expect("is right");
        assert_eq!(
            parsed,
            NewOrder {
                name: "BoarCo".into(),
                quantity: 3,
                side: Side::Sell
            }
        );
    }
}
