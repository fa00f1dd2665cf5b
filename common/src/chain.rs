//! The hash chain: row n carries `SHA-256(hash of row n−1 ‖ canonical bytes of row n)`, seeded by
//! the genesis. The hash of row n is a fingerprint of every row up to n, so that
//! two logs are compared by one number and one hash, and a damaged or foreign file is noticed
//! (Haber and Stornetta, "How to time-stamp a digital document", 1991).

use crate::wire::order::{Genesis, Order};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};
use std::fmt;

/// A SHA-256 hash: 64 hexadecimal digits in JSON.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// The hash of stored bytes; `None` when they are not 32.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        // Stored bytes may be damaged: a wrong length is for the caller to report, not to panic on.
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 64];
        // By hand: a row is sent and compared with its hash, and formatting machinery would cost
        // more than the digits.
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair[0] = b"0123456789abcdef"[usize::from(byte >> 4)];
            pair[1] = b"0123456789abcdef"[usize::from(byte & 15)];
        }
        f.pad(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Hash;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a hash of 64 hexadecimal digits")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Hash, E> {
                let wrong = || E::invalid_value(de::Unexpected::Str(text), &self);
                let digit = |b: u8| (b as char).to_digit(16).and_then(|d| u8::try_from(d).ok());
                // Checked first, so that each pair below is there.
                if text.len() != 64 {
                    return Err(wrong());
                }
                let mut hash = [0; 32];
                for (byte, pair) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
                    *byte = digit(pair[0]).ok_or_else(wrong)? << 4
                        | digit(pair[1]).ok_or_else(wrong)?;
                }
                Ok(Hash(hash))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

/// Hash of the genesis: the seed of the chain. Lengths go before texts, so that no two records have
/// the same bytes.
pub fn genesis_hash(genesis: &Genesis) -> Hash {
    let mut hasher = Sha256::new();
    // Names the format: another kind of record can never have the same bytes before its hash.
    hasher.update(b"bazaar genesis 1\0");
    update_text(&mut hasher, &genesis.cluster.0);
    // The count goes before the stocks, as lengths go before texts: where one part ends is in the
    // bytes.
    hasher.update((genesis.stocks.len() as u64).to_be_bytes());
    for stock in &genesis.stocks {
        update_text(&mut hasher, &stock.name);
        hasher.update(stock.price.cents().to_be_bytes());
        hasher.update(stock.quantity.to_be_bytes());
    }
    Hash(hasher.finalize().into())
}

/// Hash of row `number` with content `order`, after a row with hash `previous`.
pub fn row_hash(previous: Hash, number: u64, order: &Order) -> Hash {
    let mut hasher = Sha256::new();
    // Everything before this row enters through this hash alone.
    hasher.update(previous.0);
    // The number is hashed too, so that a row which was moved to another place is noticed.
    hasher.update(number.to_be_bytes());
    // No term and no time: every copy of a row has the same bytes, whoever led when it was written.
    hasher.update(order.key.to_bytes());
    hasher.update([order.side.to_byte()]);
    hasher.update(order.quantity.to_be_bytes());
    update_text(&mut hasher, &order.name);
    Hash(hasher.finalize().into())
}

/// The hashes of consecutive rows from `first` on, after a row with hash `previous`.
pub fn row_hashes(previous: Hash, first: u64, orders: &[Order]) -> impl Iterator<Item = Hash> {
    orders
        .iter()
        .zip(first..)
        .scan(previous, |hash, (order, number)| {
            *hash = row_hash(*hash, number, order);
            Some(*hash)
        })
}

fn update_text(hasher: &mut Sha256, text: &str) {
    // Without its length a text could take over bytes of the field after it.
    hasher.update((text.len() as u64).to_be_bytes());
    hasher.update(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::order::{ClusterId, OrderKey, Side};
    use proptest::prelude::*;

    fn order(key: u64, name: &str, side: Side, quantity: u64) -> Order {
        Order {
            key: OrderKey::from_time(key, 0),
            name: name.into(),
            side,
            quantity,
        }
    }

    /// The hash of a known row never changes: files of an older version stay readable.
    #[test]
    fn known_values() {
        let genesis = Genesis {
            cluster: ClusterId("00".repeat(16)),
            stocks: vec![],
        };
        let seed = genesis_hash(&genesis);
        let row = row_hash(seed, 0, &order(1, "FishCo", Side::Buy, 10));
        assert_eq!(
            seed.to_string(),
            "5c06b9754d9d18576f28996be9f4026183466e1740f287a2d699c39b2a2e487e"
        );
        assert_eq!(
            row.to_string(),
            "a49b8617716adf2d7536d9351f57df82d23250eca01bc1a891d63e60b7e06b4d"
        );
        let json = serde_json::to_string(&row).expect("serialises");
        assert_eq!(serde_json::from_str::<Hash>(&json).expect("parses"), row);
    }

    proptest! {
        /// Any change to a row, its number or its place changes its hash and every later one.
        #[test]
        fn any_change_shows(
            rows in proptest::collection::vec(
                (0..u64::from(u32::MAX), "[a-z]{1,5}", 1..9_u64),
                1..12,
            ),
            at in 0..12_usize,
            what in 0..5_u8,
        ) {
            let orders = rows.iter().map(|(k, n, q)| order(*k, n, Side::Buy, *q));
            let orders: Vec<Order> = orders.collect();
            let at = at % orders.len();
            let mut changed = orders.clone();
            let mut first = 0;
            match what {
                0 => changed[at].quantity += 1,
                1 => changed[at].name.push('x'),
                2 => changed[at].side = Side::Sell,
                3 => changed[at].key = OrderKey::from_time(u64::from(u32::MAX) + 1, 0),
                _ => first = 1,
            }
            let seed = Hash([7; 32]);
            let before: Vec<Hash> = row_hashes(seed, 0, &orders).collect();
            let after: Vec<Hash> = row_hashes(seed, first, &changed).collect();
            let from = if what > 3 { 0 } else { at };
            prop_assert_eq!(&before[..from], &after[..from]);
            for n in from..orders.len() {
                prop_assert_ne!(before[n], after[n]);
            }
        }
    }
}
