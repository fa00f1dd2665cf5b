//! Which names a stock may have. People read them in tables, terminals and URLs, and trade by what
//! they see: a name must not be invisible, turn the text around it, or look like another one.

use unicode_general_category::{GeneralCategory, get_general_category};
use unicode_normalization::is_nfc;
use unicode_security::{MixedScript, RestrictionLevel, RestrictionLevelDetection};

/// Longest name of a stock, in bytes.
pub const MAX_NAME_BYTES: usize = 64;

/// Whether a stock may have this name.
///
/// # Errors
/// Why not, and what to write; without the name itself.
pub fn check(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return Err(format!("write 1 to {MAX_NAME_BYTES} bytes"));
    }
    if name == "." || name == ".." {
        // As /stocks/.. they would be another path to every client that normalises URLs.
        return Err("a name of dots alone cannot stand in a URL: write another one".into());
    }
    if let Some((character, what)) = name.chars().find_map(|c| Some((c, unseen(c)?))) {
        return Err(format!(
            "it has {what} (U+{:04X}): write it without",
            u32::from(character)
        ));
    }
    // A table or a browser shows these like the name without them.
    if name.trim() != name || name.contains("  ") {
        return Err("it has blanks that cannot be seen: write single ones, inside".into());
    }
    // Else two names of the same letters in other bytes would be two stocks.
    if !is_nfc(name) {
        return Err("it has letters in parts (not Unicode NFC): write them composed".into());
    }
    let letters: String = name.chars().filter(|c| c.is_alphabetic()).collect();
    let mixed = !letters.as_str().is_single_script()
        && letters.detect_restriction_level() > RestrictionLevel::HighlyRestrictive;
    if mixed {
        return Err(
            "it mixes scripts, so that it can look like another name: write it in one".into(),
        );
    }
    Ok(())
}

/// The kind of a character that a reader cannot see, or that changes the text around it.
fn unseen(c: char) -> Option<&'static str> {
    use GeneralCategory as Is;
    match get_general_category(c) {
        Is::Control => Some("a control character"),
        // Directions (bidirectional marks, embeddings, isolates), joiners, soft hyphens, tags.
        Is::Format => Some("an invisible format character"),
        Is::LineSeparator | Is::ParagraphSeparator => Some("a line break"),
        Is::SpaceSeparator if c != ' ' => Some("a blank that is no plain space"),
        Is::PrivateUse | Is::Unassigned | Is::Surrogate => {
            Some("a character without a common meaning")
        }
        _ if is_filler(c) => Some("an invisible character"),
        _ => None,
    }
}

/// Letters and marks that show nothing (Default_Ignorable_Code_Point, as far as they are of no
/// category above), and the empty Braille cell.
fn is_filler(c: char) -> bool {
    matches!(
        c,
        '\u{034f}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{ffa0}'
            | '\u{e0100}'..='\u{e01ef}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names in the scripts of the world, with signs and blanks, are taken.
    #[test]
    fn names_of_one_script_are_taken() {
        for name in [
            "FishCo",
            "Obélix & Söhne",
            "A, b",
            "3M",
            "...",
            "Ελλάδα",
            "Газпром 2",
            "株式会社ソニー",
            "Sony 株式会社",
            "삼성전자",
            "टाटा",
            "بنك",
            "50% Co.",
            "$",
        ] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
    }

    /// A name that cannot be seen as it is, or looks like another one, is refused with the reason.
    #[test]
    fn names_that_deceive_are_refused() {
        for (name, why) in [
            ("", "1 to 64 bytes"),
            (".", "URL"),
            ("..", "URL"),
            ("Fish\u{202e}oC", "U+202E"),
            ("\u{2066}FishCo\u{2069}", "U+2066"),
            ("Fish\u{200f}Co", "format"),
            ("Fish\u{200b}Co", "U+200B"),
            ("Fish\u{ad}Co", "U+00AD"),
            ("\u{feff}FishCo", "U+FEFF"),
            ("Fish\u{a0}Co", "plain space"),
            ("Fish\u{3164}Co", "invisible"),
            ("FishCo\u{fe0f}", "invisible"),
            ("Fish\nCo", "control"),
            ("Fish\u{2028}Co", "line break"),
            ("Fish\u{e000}Co", "meaning"),
            ("Fish  Co", "blanks"),
            ("Obe\u{301}lix", "composed"),
            ("F\u{456}shCo", "mixes scripts"),
            ("\u{391}nvilWorks", "mixes scripts"),
        ] {
            let error = check(name).expect_err(why);
            assert!(error.contains(why), "{name:?}: {error}");
        }
        assert!(check(&"x".repeat(65)).is_err() && check(&"x".repeat(64)).is_ok());
    }
}
