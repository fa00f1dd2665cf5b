//! Values that nobody may guess: tokens, ids of sessions and clusters, clients' keys of orders.
//! They come from the operating system. `fastrand`, which seeds itself from time and addresses, is
//! for load and tests: a token of it can be computed again from the time of its file.

/// So many random bytes, as hexadecimal digits.
///
/// # Panics
/// When the operating system has no random numbers.
pub fn hex(bytes: usize) -> String {
    let mut random = vec![0; bytes];
    // Without randomness of the system a token could be guessed: no service may start so.
    getrandom::fill(&mut random).expect("the operating system gives random numbers");
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many digits as were asked for, and never the same.
    #[test]
    fn two_secrets_differ() {
        let (one, other) = (hex(32), hex(32));
        assert!(one.len() == 64 && one.bytes().all(|b| b.is_ascii_hexdigit()));
        assert_ne!(one, other);
    }
}
