//! The stocks that a new bazaar starts with: fourteen of a Gaulish village, or those of a CSV file.

use crate::stock_name;
use common::terminal;
use common::timing::MAX_INITIAL_QUANTITY;
use common::wire::money::Price;
use common::wire::order::InitialStock;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read as _;
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

/// The stocks of the village.
pub fn village() -> Vec<InitialStock> {
    let stock = |&(name, cents): &(&str, u64)| InitialStock {
        name: name.into(),
        price: Price::from_cents(cents).expect("prices of the village are small"),
        quantity: VILLAGE_QUANTITY,
    };
    VILLAGE.iter().map(stock).collect()
}

/// Most stocks of a bazaar. Genesis and table travel whole, in one message: at this bound they fit
/// [`common::http::client::ANSWER_LIMIT_BYTES`], whatever the names are.
pub const MAX_STOCKS: usize = 100_000;

/// Largest file that is read: far more than [`MAX_STOCKS`] lines need.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;
/// Mistakes that are listed; a file of another kind has one in each line.
const MAX_MISTAKES: usize = 20;

const HEADER: [&str; 3] = ["name", "price", "quantity"];

/// The stocks of a CSV file with the header `name,price,quantity`, sorted by name.
///
/// # Errors
/// The mistakes of the file, each with its line as an editor counts it.
pub fn from_csv(path: &Path) -> Result<Vec<InitialStock>, String> {
    let named = |error: String| format!("{}: {error}", path.display());
    let text = read_text(path).map_err(named)?;
    parse_csv(&text).map_err(named)
}

fn read_text(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|e| format!("cannot be read: {e}"))?;
    // One byte more than allowed shows that there are more, whatever the file says of its size: it
    // may be a pipe or a device.
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| format!("cannot be read: {e}"))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!(
            "it is larger than {MAX_FILE_BYTES} bytes: a bazaar has at most {MAX_STOCKS} stocks"
        ));
    }
    // Before UTF-8 is tried, whose error would name a byte instead of the remedy.
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err("it is UTF-16: save it as CSV in UTF-8".into());
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
        format!("line {line}: it is not UTF-8: save it as CSV in UTF-8")
    })?;
    // Spreadsheets put a byte order mark before UTF-8.
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.into(),
        None => text,
    })
}

fn parse_csv(text: &str) -> Result<Vec<InitialStock>, String> {
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .has_headers(false)
        // Lines with too few or too many fields come through, so that the message can name the
        // line.
        .flexible(true)
        .from_reader(text.as_bytes());
    let mut lines = Lines::new(text);
    let mut records = reader.records().map(|record| {
        // `flexible` and checked UTF-8 leave the reader no error.
        let record = record.expect("text in memory is read");
        let begins = record.position().map_or(0, csv::Position::byte);
        (lines.of_record(begins), record)
    });
    let columns = match records.next() {
        Some((line, header)) => columns(&header).map_err(|e| format!("line {line}: {e}"))?,
        None => {
            return Err(
                "it is empty: write a header 'name,price,quantity' and a line per stock".into(),
            );
        }
    };
    let mut listing = Listing::default();
    for (line, record) in records {
        // A line of blanks is as empty as one without.
        if record.iter().any(|field| !field.is_empty()) || record.len() > 1 {
            listing.add(line, stock(&record, columns));
        }
    }
    listing.finish()
}

/// Where name, price and quantity stand, by the header.
fn columns(header: &csv::StringRecord) -> Result<[usize; 3], String> {
    let place = |wanted: &str| {
        header
            .iter()
            .position(|title| title.eq_ignore_ascii_case(wanted))
    };
    let places = HEADER.map(place);
    match places {
        [Some(name), Some(price), Some(quantity)] if header.len() == 3 => {
            Ok([name, price, quantity])
        }
        _ => {
            let found: Vec<&str> = header.iter().collect();
            let found = shown(&found.join(","));
            let why = if found.contains(';') {
                " (it has semicolons: separate by commas)"
            } else {
                ""
            };
            Err(format!(
                "the header is '{found}'{why}: write name,price,quantity"
            ))
        }
    }
}

fn stock(record: &csv::StringRecord, columns: [usize; 3]) -> Result<InitialStock, String> {
    if record.len() != HEADER.len() {
        return Err(format!(
            "there are {} fields: write name,price,quantity",
            record.len()
        ));
    }
    let [name, price, quantity] = columns.map(|at| &record[at]);
    stock_name::check(name).map_err(|why| format!("name '{}': {why}", shown(name)))?;
    let number = quantity.parse().ok().filter(|&q| q <= MAX_INITIAL_QUANTITY);
    let number = number.ok_or_else(|| {
        format!(
            "quantity '{}': write a whole number from 0 to {MAX_INITIAL_QUANTITY}",
            shown(quantity)
        )
    })?;
    Ok(InitialStock {
        name: name.into(),
        price: shown(price).parse().map_err(|e| format!("price {e}"))?,
        quantity: number,
    })
}

/// Text of the file for a message: shown as it is, and not long.
fn shown(text: &str) -> String {
    let short: String = text.chars().take(80).collect();
    let cut = if short.len() < text.len() { "…" } else { "" };
    format!("{}{cut}", terminal::escape(&short))
}

/// The stocks read so far, and the mistakes.
#[derive(Default)]
struct Listing {
    stocks: BTreeMap<String, InitialStock>,
    /// The line of each name, by what the name looks like (UTS 39, section 4).
    looks: HashMap<String, (u64, String)>,
    read: usize,
    mistakes: Vec<String>,
}

impl Listing {
    fn add(&mut self, line: u64, read: Result<InitialStock, String>) {
        self.read += 1;
        // More are counted, not kept.
        if self.read > MAX_STOCKS {
            return;
        }
        let added = read.and_then(|stock| self.take(line, stock));
        if let Err(mistake) = added {
            self.mistakes.push(format!("line {line}: {mistake}"));
        }
    }

    fn take(&mut self, line: u64, stock: InitialStock) -> Result<(), String> {
        let name = stock.name.clone();
        if self.stocks.insert(name.clone(), stock).is_some() {
            return Err(format!("{} is named twice", shown(&name)));
        }
        let look: String = unicode_security::skeleton(&name).collect();
        match self.looks.entry(look) {
            Entry::Vacant(free) => {
                free.insert((line, name));
                Ok(())
            }
            // ASCII alone has look-alikes too (l, I, 1), which everybody knows.
            Entry::Occupied(other) if name.is_ascii() && other.get().1.is_ascii() => Ok(()),
            Entry::Occupied(other) => {
                let (first, _) = other.get();
                Err(format!(
                    "name '{}': it looks like the one of line {first}: write another one",
                    shown(&name)
                ))
            }
        }
    }

    fn finish(mut self) -> Result<Vec<InitialStock>, String> {
        if self.read > MAX_STOCKS {
            return Err(format!(
                "it has {} stocks: a bazaar has at most {MAX_STOCKS}",
                self.read
            ));
        }
        if self.read == 0 {
            return Err("no stock in it: write a line per stock below the header".into());
        }
        let more = self.mistakes.len().saturating_sub(MAX_MISTAKES);
        self.mistakes.truncate(MAX_MISTAKES);
        if more > 0 {
            self.mistakes.push(format!("and {more} more lines"));
        }
        // All mistakes of the file in one start, not one per start.
        if self.mistakes.is_empty() {
            Ok(self.stocks.into_values().collect())
        } else {
            Err(self.mistakes.join("; "))
        }
    }
}

/// Counts lines as editors do. The CSV reader's own count is that of where it stood before a
/// record: blank lines are skipped behind it.
struct Lines<'a> {
    text: &'a [u8],
    at: usize,
    line: u64,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text: text.as_bytes(),
            at: 0,
            line: 1,
        }
    }

    /// The line on which a record begins whose reading began at byte `from`. Asked in the sequence
    /// of the records.
    fn of_record(&mut self, from: u64) -> u64 {
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        while let Some(&byte) = self.text.get(self.at) {
            let ends_line = matches!(byte, b'\n' | b'\r');
            if self.at >= from && !ends_line {
                break;
            }
            let pair = byte == b'\r' && self.text.get(self.at + 1) == Some(&b'\n');
            self.line += u64::from(ends_line && !pair);
            self.at += 1;
        }
        self.line
    }
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
    /// The line of a mistake is the one that an editor shows, whatever stands before it; a wrong
    /// header is named with its own, and nothing behind it is listed.
    #[test]
    fn mistakes_are_named_with_their_line() {
        for (text, line) in [
            ("name,price,quantity\n\n\nFishCo,5.99,100\nBoarCo,x,1\n", 5),
            ("\n\nname,price,quantity\n\nBoarCo,x,1\n", 5),
            ("name,price,quantity\n  \nBoarCo,x,1\n", 3),
            ("name,price,quantity\r\n\r\nA,1,1\r\nBoarCo,x,1\r\n", 4),
            ("name,price,quantity\rA,1,1\rBoarCo,x,1\r", 3),
            ("\u{feff}name,price,quantity\nBoarCo,x,1", 2),
            ("Name,Price\nA,1\nB,x\n", 1),
            ("A,1,1\nB,x,1\n", 1),
            ("name;price;quantity\nA;1;1\n", 1),
            ("name,price,quantity,\nA,1,1,\n", 1),
            ("# stocks\nname,price,quantity\nA,1,1\n", 1),
        ] {
            let error = read(text).expect_err(text);
            assert!(
                error.contains(&format!("line {line}: ")),
                "{text:?}: {error}"
            );
            assert_eq!(error.matches("line ").count(), 1, "{text:?}: {error}");
        }
        let quoted = "name,price,quantity\n\"Fish\nCo\",5.99,100\nBoarCo,x,1\n";
        let error = read(quoted).expect_err("two mistakes");
        assert!(error.contains("line 2: name 'Fish\\nCo'"), "{error}");
        assert!(error.contains("line 4: price 'x'"), "{error}");
    }

    /// Columns in another order, capitals in the header, a byte order mark and blank lines are no
    /// mistakes.
    #[test]
    fn the_output_of_spreadsheets_is_taken() {
        let stocks =
            read("\u{feff}Quantity,Name,Price\r\n\r\n7,FishCo,5.99\r\n\r\n").expect("good");
        assert_eq!((stocks[0].name.as_str(), stocks[0].quantity), ("FishCo", 7));
    }

    /// Files of another encoding are called so.
    #[test]
    fn other_encodings_are_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("stocks.csv");
        for (bytes, why) in [
            (&b"\xff\xfen\0a\0"[..], "UTF-16"),
            (
                b"name,price,quantity\nA,1,1\nCaf\xe9,1,1\n",
                "line 3: it is not UTF-8",
            ),
        ] {
            std::fs::write(&path, bytes).expect("writes");
            let error = from_csv(&path).expect_err(why);
            assert!(
                error.contains(why) && error.contains("stocks.csv"),
                "{error}"
            );
        }
    }

    /// Names that look alike, by mixed scripts or as a whole, are refused with both lines; other
    /// spellings in ASCII are everybody's own affair.
    #[test]
    fn look_alikes_are_refused_with_their_line() {
        let header = "name,price,quantity\n";
        let error = read(&format!("{header}FishCo,1,1\nF\u{456}shCo,1,1\n")).expect_err("mixed");
        assert!(
            error.contains("line 3: name") && error.contains("mixes scripts"),
            "{error}"
        );
        // Cyrillic letters alone.
        let error = read(&format!("{header}cop,1,1\n\u{441}\u{43e}\u{440},1,1\n"));
        let error = error.expect_err("looks like cop");
        assert!(
            error.contains("line 3") && error.contains("line 2"),
            "{error}"
        );
        assert!(read(&format!("{header}Il,1,1\nII,1,1\nl1,1,1\n")).is_ok());
    }

    /// The message names the file and the number; up to the bound every name may be the longest.
    #[test]
    fn too_many_stocks_are_refused_with_their_number() {
        let csv = |count: usize| {
            let lines = (0..count).map(|n| format!("S{n},1.00,1\n"));
            ["name,price,quantity\n".to_owned()]
                .into_iter()
                .chain(lines)
                .collect::<String>()
        };
        assert_eq!(read(&csv(MAX_STOCKS)).expect("fits").len(), MAX_STOCKS);
        let error = read(&csv(MAX_STOCKS + 1)).expect_err("one too many");
        assert!(
            error.contains("stocks.csv") && error.contains("100001") && error.contains("100000"),
            "{error}"
        );
    }

    /// Genesis and table of the most stocks with the longest names fit one internal message.
    #[test]
    fn the_most_stocks_fit_one_message() {
        let name = "\"".repeat(crate::stock_name::MAX_NAME_BYTES);
        let price: Price = "10000000000.00".parse().expect("the largest");
        let stock = common::wire::catalog::Stock {
            name,
            price,
            quantity: crate::market::MAX_QUANTITY,
            cacheable: false,
        };
        let longest = serde_json::to_vec(&stock).expect("JSON").len() as u64 + 1;
        let all = longest * MAX_STOCKS as u64;
        assert!(
            all < common::http::client::ANSWER_LIMIT_BYTES,
            "{longest} bytes each"
        );
    }
}
