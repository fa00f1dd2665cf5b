//! The body of `POST /orders`, checked strictly: each mistake is named with the field and the
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

/// Why a body is no order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidOrder {
    /// 400, or 415 for a body that is compressed.
    pub status: u16,
    /// The mistake, and the remedy.
    pub message: String,
}

impl From<String> for InvalidOrder {
    fn from(message: String) -> Self {
        Self {
            status: 400,
            message,
        }
    }
}

/// The order in a body that was sent with these `Content-Encoding`s.
///
/// # Errors
/// A mistake in a body.
pub fn read<'a>(
    body: &[u8],
    mut encodings: impl Iterator<Item = &'a str>,
) -> Result<NewOrder, InvalidOrder> {
    // A client may send `identity`, which means that nothing was done to the body.
    let named = encodings.find(|encoding| !encoding.trim().eq_ignore_ascii_case("identity"));
    let named = named.map(|encoding| format!("Content-Encoding: {}", cut(encoding)));
    // The bytes decide where the field is missing: a body that is compressed and not said to be is
    // a usual slip.
    let seen = body.starts_with(&GZIP).then(|| "gzip".to_owned());
    if let Some(how) = named.or(seen) {
        return Err(InvalidOrder {
            status: 415,
            message: format!(
                "the body is compressed ({how}), which is not taken here: send the JSON as it is"
            ),
        });
    }
    Ok(parse(body)?)
}

/// How a gzip file begins (RFC 1952 section 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

fn parse(body: &[u8]) -> Result<NewOrder, String> {
    let fields: Fields = serde_json::from_slice(body).map_err(|error| no_object(body, &error))?;
    // The first mistake that was met, before fields are checked one by one: an unknown field is
    // often a misspelt one, and then explains the missing one.
    if let Some(problem) = fields.problem {
        return Err(problem);
    }
    Ok(NewOrder {
        name: name(fields.name)?,
        quantity: quantity(fields.quantity.as_ref())?,
        side: side(fields.side.as_ref())?,
    })
}

/// Why a body is no JSON object: the usual slips by name, else the parser's own words.
fn no_object(body: &[u8], error: &serde_json::Error) -> String {
    // From the first bytes, since the parser's own words ("expected value at line 1 column 1") help
    // nobody here.
    let cause = match body {
        [] => "the body is empty".into(),
        [0xef, 0xbb, 0xbf, ..] => {
            "the body begins with a byte order mark (the bytes EF BB BF): leave it out".into()
        }
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, b'{', ..] | [b'{', 0, ..] => {
            "the body is UTF-16: encode it as UTF-8".into()
        }
        _ => match std::str::from_utf8(body) {
            Err(_) => "the body is not UTF-8: encode it so".into(),
            Ok(text) => slip(text.trim_start()).map_or_else(
                || format!("the body is not a JSON object ({error})"),
                Into::into,
            ),
        },
    };
    format!("{cause}; send an order such as {EXAMPLE}")
}

/// A body that is something else than JSON, as clients send it by mistake.
fn slip(text: &str) -> Option<&'static str> {
    let is_field = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '%' | '+' | '-' | '.');
    // A form begins with a bare name before its first `=`; JSON has a brace or a quote there.
    let form = text
        .split_once('=')
        .is_some_and(|(name, _)| !name.is_empty() && name.chars().all(is_field));
    match text.chars().next()? {
        '[' => Some("the body is a list: send one order a request, as an object"),
        '<' => Some("the body is XML or HTML: it has to be a JSON object"),
        '-' if text.starts_with("--") => {
            Some("the body is a form (multipart/form-data): it has to be a JSON object")
        }
        '{' if text[1..].trim_start().starts_with('\'') => {
            Some("the body has single quotes: JSON takes double quotes")
        }
        _ if form => {
            Some("the body is form-encoded (name=…&quantity=…): it has to be a JSON object")
        }
        _ => None,
    }
}

fn name(value: Option<Value>) -> Result<String, String> {
    const HOW: &str = r#"write the name of a stock as text, such as "GameStart""#;
    match value {
        None => Err(format!("the field 'name' is missing: {HOW}")),
        Some(Value::String(name)) if name.is_empty() => {
            Err(format!("the field 'name' is empty: {HOW}"))
        }
        // In bytes, as the bound of a batch is one of bytes.
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
    let in_range = |n: &u64| (1..=MAX_ORDER_QUANTITY).contains(n);
    // `as_u64` is `None` for 12.0 and 1e3, which JSON calls numbers: the API takes integers in
    // their plain spelling only.
    if let Some(n) = value.as_u64().filter(in_range) {
        return Ok(n);
    }
    // A whole number in another spelling: the digits to write are known.
    let (spelling, meant) = match value {
        Value::Number(number) => (
            "has a decimal point or an exponent",
            number.as_f64().and_then(whole),
        ),
        Value::String(text) => ("is text", text.trim().parse().ok()),
        _ => ("", None),
    };
    Err(match meant.filter(in_range) {
        Some(n) => format!(
            "the field 'quantity' is {}, which {spelling}: write the whole number {n}",
            shown(value)
        ),
        None => format!("the field 'quantity' is {}: {how}", shown(value)),
    })
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

/// The whole number that a number with a decimal point stands for.
fn whole(number: f64) -> Option<u64> {
    // Far above what may be ordered, and exact as a float: beyond 2^53 the digits would be guessed.
    let limit = 1_000_000_000_000.0;
    if number.fract() != 0.0 || !(0.0..=limit).contains(&number) {
        return None;
    }
    format!("{number:.0}").parse().ok()
}

/// A value for a message, shortened.
fn shown(value: &Value) -> String {
    match value {
        // They may be long, and their text helps nobody.
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "an object".into(),
        other => cut(&other.to_string()),
    }
}

fn cut(text: &str) -> String {
    // Characters, not bytes: a cut inside one would panic.
    if text.chars().count() <= 40 {
        text.into()
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
                            // Cut before it is put into a message: the client chose its length.
                            let other: String = other.chars().take(40).collect();
                            let problem = format!(
                                "there is no field '{other}': an order has 'name', 'quantity' and \
                                 'type'"
                            );
                            // The first problem is kept; the rest is still read, so that the body
                            // is known to be an object to its end.
                            fields.problem.get_or_insert(problem);
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    // JSON leaves open which of two counts: a client that means the other would
                    // trade something else.
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
                error.contains("'quantity'") && error.contains("write "),
                "{wrong}: {error}"
            );
        }
    }

    /// A whole number in another spelling is answered with the digits to write.
    #[test]
    fn a_quantity_in_another_spelling_is_answered_with_the_digits_to_write() {
        for (wrong, digits) in [
            ("1.0", "1"),
            ("12.0", "12"),
            ("1e3", "1000"),
            ("\"12\"", "12"),
        ] {
            let error = order(wrong).expect_err(wrong);
            let remedy = format!("write the whole number {digits}");
            assert!(error.ends_with(&remedy), "{wrong}: {error}");
        }
        for (wrong, cause) in [("1.0", "decimal point"), ("\"12\"", "is text")] {
            assert!(order(wrong).expect_err(wrong).contains(cause), "{wrong}");
        }
        for out_of_range in ["1.5", "0.0", "-1.0", "1e300", "1000001.0", "\"x\"", "\"0\""] {
            let error = order(out_of_range).expect_err(out_of_range);
            assert!(
                error.contains("from 1 to 1000000"),
                "{out_of_range}: {error}"
            );
        }
    }

    /// A body that is something else than JSON is called what it is, with an order to send instead.
    #[test]
    fn a_body_of_another_format_is_called_what_it_is() {
        let json = r#"{"name":"FishCo","quantity":1,"type":"buy"}"#;
        let utf16: Vec<u8> = json.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let marked = |mark: &[u8], body: &[u8]| [mark, body].concat();
        for (body, cause) in [
            (
                marked(&[0xef, 0xbb, 0xbf], json.as_bytes()),
                "byte order mark",
            ),
            (utf16.clone(), "UTF-16"),
            (marked(&[0xff, 0xfe], &utf16), "UTF-16"),
            (b"name=FishCo&quantity=1&type=buy".to_vec(), "form-encoded"),
            (b"name=Fish+Co".to_vec(), "form-encoded"),
            (
                b"--x\r\nContent-Disposition: form-data".to_vec(),
                "multipart",
            ),
            (format!("[{json}]").into_bytes(), "a list"),
            (b"<order/>".to_vec(), "XML"),
            (json.replace('"', "'").into_bytes(), "double quotes"),
            (b"{\"name\":\"\xff\"}".to_vec(), "not UTF-8"),
            (Vec::new(), "empty"),
        ] {
            let refused = read(&body, std::iter::empty()).expect_err(cause);
            assert_eq!(refused.status, 400, "{cause}");
            assert!(
                refused.message.contains(cause),
                "{cause}: {}",
                refused.message
            );
            assert!(refused.message.ends_with(EXAMPLE), "{}", refused.message);
        }
    }

    /// A compressed body is a 415, by its header or by its first bytes.
    #[test]
    fn a_compressed_body_is_refused_as_such() {
        let json = br#"{"name":"FishCo","quantity":1,"type":"buy"}"#;
        assert!(read(json, ["identity"].into_iter()).is_ok());
        for (body, encoding) in [(&json[..], Some("gzip")), (&[0x1f, 0x8b, 8, 0][..], None)] {
            let refused = read(body, encoding.into_iter()).expect_err("compressed");
            assert_eq!(refused.status, 415);
            assert!(refused.message.contains("gzip"), "{}", refused.message);
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
            ("[]", "a list"),
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
