//! The stocks that a new bazaar starts with: fourteen of a Gaulish village, or those of a CSV file.

use common::timing::MAX_INITIAL_QUANTITY;
use common::wire::money::Price;
use common::wire::order::InitialStock;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Name and price in cents of each stock of the village; each starts with [`VILLAGE_QUANTITY`].
const VILLAGE: [(&str, u64); 14] = [
    ("AnvilWorks", 4_250),
    ("BardStrings", 725),
    ("BoarCo", 3_450),
    ("ChariotParts", 8_999),
    ("DolmenDesign", 12_000),
    ("FishCo", 599),
    ("GameStart", 1_599),
    ("HelmetHouse", 2_750),
    ("MenhirCo", 6_400),
    ("MistletoeMills", 310),
    ("OakLeafBank", 15_025),
    ("PotionLabs", 9_900),
    ("RomanSalvage", 1_275),
    ("ShieldBearers", 2_199),
];
const VILLAGE_QUANTITY: u64 = 100;

/// Longest name of a stock, in bytes.
pub const MAX_NAME_BYTES: usize = 64;

/// The stocks of the village.
#[must_use]
pub fn village() -> Vec<InitialStock> {
    let stock = |&(name, cents): &(&str, u64)| InitialStock {
        name: name.into(),
        price: Price::from_cents(cents).expect("prices of the village are small"),
        quantity: VILLAGE_QUANTITY,
    };
    VILLAGE.iter().map(stock).collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    name: String,
    price: String,
    quantity: String,
}

/// The stocks of a CSV file with the header `name,price,quantity`, sorted by name.
///
/// # Errors
/// Every mistake of the file, with its line.
pub fn from_csv(path: &Path) -> Result<Vec<InitialStock>, String> {
    let file = std::fs::read_to_string(path)
        .map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_reader(file.as_bytes());
    let (mut stocks, mut mistakes) = (BTreeMap::new(), Vec::new());
    for (line, record) in (2..).zip(reader.deserialize::<Line>()) {
        match record
            .map_err(|e| e.to_string())
            .and_then(|record| stock(&record))
        {
            Ok(stock) => {
                if let Some(first) = stocks.insert(stock.name.clone(), stock) {
                    mistakes.push(format!("line {line}: {} is named twice", first.name));
                }
            }
            Err(mistake) => mistakes.push(format!("line {line}: {mistake}")),
        }
    }
    if stocks.is_empty() && mistakes.is_empty() {
        mistakes.push(
            "no stock in it: write a header 'name,price,quantity' and a line per stock".into(),
        );
    }
    if mistakes.is_empty() {
        Ok(stocks.into_values().collect())
    } else {
        Err(format!("{}: {}", path.display(), mistakes.join("; ")))
    }
}

fn stock(line: &Line) -> Result<InitialStock, String> {
    let name = line.name.clone();
    if name.is_empty() || name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
        return Err(format!(
            "name '{name}': write 1 to {MAX_NAME_BYTES} bytes without control characters"
        ));
    }
    let quantity = line
        .quantity
        .parse()
        .ok()
        .filter(|&q| q <= MAX_INITIAL_QUANTITY);
    let quantity = quantity.ok_or_else(|| {
        format!(
            "quantity '{}': write a whole number from 0 to {MAX_INITIAL_QUANTITY}",
            line.quantity
        )
    })?;
    Ok(InitialStock {
        name,
        price: line.price.parse()?,
        quantity,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<InitialStock>, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("stocks.csv");
        std::fs::write(&path, text).expect("writes");
        from_csv(&path)
    }

    /// The village has fourteen stocks, sorted, the lab's four among them.
    #[test]
    fn the_village() {
        let names: Vec<String> = village().into_iter().map(|s| s.name).collect();
        assert_eq!(names.len(), 14);
        assert!(names.is_sorted());
        for name in ["GameStart", "FishCo", "BoarCo", "MenhirCo"] {
            assert!(names.iter().any(|n| n == name), "{name}");
        }
    }

    /// A good file is read and sorted; a bad one is refused with every mistake and its line.
    #[test]
    fn csv_files() {
        let stocks =
            read("name,price,quantity\nZed, 1.5, 0\n\"A, b\",2,1000000000000\n").expect("good");
        assert_eq!(
            (stocks[0].name.as_str(), stocks[1].price.cents()),
            ("A, b", 150)
        );
        let error =
            read("name,price,quantity\nA,1,1\nA,2,2\n,1,1\nB,x,1\nC,1,-1\nD,1\n").expect_err("bad");
        for line in 3..=7 {
            assert!(error.contains(&format!("line {line}:")), "{line}: {error}");
        }
        assert!(
            read("name,price,quantity\n")
                .expect_err("empty")
                .contains("no stock")
        );
        assert!(read("name,price\nA,1\n").is_err());
    }
}
