//! The words of an order: its key, its content, and the rows and positions of the journal and its
//! copies.

use crate::chain::Hash;
use crate::wire::money::Price;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};
use std::{fmt, str::FromStr};

/// Number of a replica of the order service, 1 to 255.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct ReplicaId(u8);

impl From<ReplicaId> for u8 {
    fn from(id: ReplicaId) -> u8 {
        id.0
    }
}

impl TryFrom<u8> for ReplicaId {
    type Error = String;
    fn try_from(id: u8) -> Result<Self, String> {
        if id == 0 {
            Err("a replica's id is 1 to 255".into())
        } else {
            Ok(Self(id))
        }
    }
}

impl FromStr for ReplicaId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let id: u8 = text
            .parse()
            .map_err(|_| format!("'{text}' is not a replica's id: write a number from 1 to 255"))?;
        Self::try_from(id)
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Number of a leadership. It only rises; the catalog keeps the count, and refuses trades of an
/// older one.
pub type Term = u64;

/// The name of one order through all repeats: 128 bits, 32 hexadecimal digits in JSON.
///
/// The top bit says whether a client's key or a front-end made it. A client's key comes from its
/// `Idempotency-Key` alone, so that it is the same through every front-end and after every restart.
/// A front-end's begins with the time, so that the journal's index on it stays cheap (new keys land
/// at its end), and is meant for the front-end's own retries only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderKey(u128);

const CLIENT_BIT: u128 = 1 << 127;

impl OrderKey {
    /// The key of a client's `Idempotency-Key`: the first 127 bits of its SHA-256.
    pub fn from_client(idempotency_key: &str) -> Self {
        let digest = Sha256::new()
            // Names the purpose: the same key hashed for another purpose has another result.
            .chain_update(b"bazaar order key\0")
            .chain_update(idempotency_key)
            .finalize();
        let mut first = [0; 16];
        first.copy_from_slice(&digest[..16]);
        // The top bit is given up for the mark; 127 bits are left.
        Self(u128::from_be_bytes(first) | CLIENT_BIT)
    }

    /// A front-end's key: 47 bits of wall-clock milliseconds, then 80 random bits. The time only
    /// orders the keys; a clock that jumps makes the index slower, never two keys equal.
    pub fn from_time(unix_ms: u64, random: u128) -> Self {
        Self((u128::from(unix_ms) << 80 | random & ((1 << 80) - 1)) & !CLIENT_BIT)
    }

    /// Whether the key comes from a client's `Idempotency-Key`.
    pub fn is_client(self) -> bool {
        self.0 & CLIENT_BIT != 0
    }

    /// Big-endian bytes, as stored.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// The key of stored bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }
}

impl fmt::Display for OrderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for OrderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for OrderKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for OrderKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = OrderKey;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an order key of 32 hexadecimal digits")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<OrderKey, E> {
                // The length first: `from_str_radix` alone would take fewer digits, and a sign.
                let ok = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
                let key = if ok {
                    u128::from_str_radix(text, 16).ok()
                } else {
                    None
                };
                key.map(OrderKey)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

/// Side of an order, seen from the client. In JSON the field is called `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The client buys: the quantity left falls.
    Buy,
    /// The client sells: the quantity left rises.
    Sell,
}

impl Side {
    /// As stored and hashed.
    pub const fn to_byte(self) -> u8 {
        match self {
            Self::Buy => 0,
            Self::Sell => 1,
        }
    }

    /// From its stored byte; `None` for a byte that no side has.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Buy),
            1 => Some(Self::Sell),
            _ => None,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Buy => "buy",
            Self::Sell => "sell",
        })
    }
}

/// Content of an order, with the key that makes its repeats recognisable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Recognises repeats.
    pub key: OrderKey,
    /// Name of the stock.
    pub name: String,
    /// Buy or sell.
    #[serde(rename = "type")]
    pub side: Side,
    /// How many, 1 to [`crate::timing::MAX_ORDER_QUANTITY`].
    pub quantity: u64,
}

/// An order on its way, with the trace id of the request that brought it (which is no part of the
/// order).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submission {
    /// The order.
    pub order: Order,
    /// Trace id of the client's request, for the logs of all tiers.
    pub trace: String,
}

/// Where a log ends: the number of its last row (`null` when it holds only the genesis) and that
/// row's hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Number of the last row; `null` for a log that holds only the genesis.
    pub last: Option<u64>,
    /// Hash of that row, or of the genesis.
    pub hash: Hash,
}

impl Position {
    /// The number that the next row gets, which is also how many rows there are.
    #[must_use]
    pub fn next(&self) -> u64 {
        next_number(self.last)
    }
}

/// The number after `last`; 0 when there is none.
#[must_use]
pub fn next_number(last: Option<u64>) -> u64 {
    // Saturating: the number may come from outside, and the largest one is beyond every log as it
    // is.
    last.map_or(0, |n| n.saturating_add(1))
}

/// Consecutive rows of the journal. Only the last hash travels: the receiver computes the
/// chain from the row before and compares the ends, which is as strong as a hash on each row and a
/// third of the bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rows {
    /// Number of the first row.
    pub first: u64,
    /// The orders, numbered from `first`.
    pub orders: Vec<Order>,
    /// Hash of the last row; of the row before `first` when there is none.
    pub hash: Hash,
}

impl Rows {
    /// The number after the last row.
    #[must_use]
    pub fn end(&self) -> u64 {
        // Numbers in a log are dense and far below 2^64: see `next_number` for those that come from
        // outside.
        self.first + self.orders.len() as u64
    }
}

/// Record −1 of every file: what the chain starts from. Two clusters never share one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Genesis {
    /// Random id of this bazaar.
    pub cluster: ClusterId,
    /// The stocks that it started with, sorted by name.
    pub stocks: Vec<InitialStock>,
}

/// Random id of a bazaar, made when its catalog's file was made: 32 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterId(pub String);

impl ClusterId {
    /// Whether a file of `other` belongs to another bazaar. An empty file belongs to none yet.
    pub fn differs_from(&self, other: Option<&Self>) -> bool {
        // An empty file may still become ours.
        other.is_some_and(|other| other != self)
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A stock as the bazaar started with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitialStock {
    /// Its name.
    pub name: String,
    /// Its price, which never changes.
    pub price: Price,
    /// How many there were.
    pub quantity: u64,
}

/// The catalog's decision on an order. Recorded there for ever (numbers) or within the newest
/// 1 000 000 refusals of clients' keys, so that a repeat gets the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It traded, under this number.
    Accepted(u64),
    /// Fewer are left than the order wants to buy, or a sell would exceed what a stock can hold.
    /// Recorded.
    InsufficientQuantity,
    /// No such stock. Not recorded.
    UnknownStock,
    /// The key was used before with another body. Nothing happened.
    KeyReused,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client's key depends on the header alone and never equals a front-end's.
    #[test]
    fn keys_tell_who_made_them() {
        assert_eq!(OrderKey::from_client("a"), OrderKey::from_client("a"));
        assert_ne!(OrderKey::from_client("a"), OrderKey::from_client("b"));
        assert!(OrderKey::from_client("a").is_client());
        let (earlier, later) = (
            OrderKey::from_time(1_000, u128::MAX),
            OrderKey::from_time(1_001, 0),
        );
        assert!(
            !later.is_client() && earlier < later,
            "time orders the keys"
        );
    }

    /// Keys and verdicts have the JSON that docs/protocol.md shows.
    #[test]
    fn json_is_as_documented() {
        let order = Order {
            key: OrderKey::from_time(1, 2),
            name: "FishCo".into(),
            side: Side::Sell,
            quantity: 3,
        };
        let json = serde_json::to_string(&order).expect("serialises");
        assert_eq!(
            json,
            concat!(
                r#"{"key":"00000000000100000000000000000002","name":"FishCo","#,
                r#""type":"sell","quantity":3}"#
            )
        );
        assert_eq!(serde_json::from_str::<Order>(&json).expect("parses"), order);
        assert_eq!(
            serde_json::to_string(&Verdict::Accepted(7)).expect("serialises"),
            r#"{"accepted":7}"#
        );
        assert_eq!(
            serde_json::to_string(&Verdict::KeyReused).expect("serialises"),
            r#""key_reused""#
        );
        for wrong in [
            "\"12\"",
            "\"0000000000010000000000000000000g\"",
            "\"+0000000000100000000000000000002\"",
        ] {
            assert!(serde_json::from_str::<OrderKey>(wrong).is_err(), "{wrong}");
        }
    }
}
