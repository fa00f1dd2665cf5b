use super::*;

const A: &str = "http://a:7100";
const B: &str = "http://b:7100";
const C: &str = "http://c:7100";

fn catalogs(urls: &[&str]) -> Catalogs {
    let urls: Vec<String> = urls.iter().map(|url| (*url).into()).collect();
    Catalogs::new(&urls, 1, None)
}

type Answer = Result<(u8, Option<u64>), CallError>;

fn ok(epoch: u64) -> Answer {
    Ok((7, Some(epoch)))
}

fn silent() -> Answer {
    Err(CallError::NoAnswer("silent".into()))
}

fn refused() -> Answer {
    Err(CallError::NotSent("refused".into()))
}

fn status(status: u16, epoch: u64) -> Answer {
    Err(CallError::Status {
        status,
        body: b"{}".to_vec(),
        epoch: Some(epoch),
        unknown_before: false,
    })
}

fn standby(active: Option<&str>) -> Answer {
    let body = NotActive {
        active: active.map(Into::into),
        epoch: 1,
        outcome_unknown: false,
    };
    Err(CallError::Status {
        status: 421,
        body: serde_json::to_vec(&body).expect("serialises"),
        epoch: None,
        unknown_before: false,
    })
}

/// One round with these answers; returns who was asked, and the end.
fn round(
    catalogs: &Catalogs,
    says: Says,
    mut answer: impl FnMut(&str) -> Answer,
) -> (Vec<String>, Result<u8, CallError>) {
    let mut asked = Vec::new();
    let ended = catalogs.round(says, |_, url| {
        asked.push(url.into());
        answer(url)
    });
    (asked, ended)
}

/// The preferred one alone is asked as long as it answers, also when it refuses.
#[test]
fn the_preferred_one_is_asked_first() {
    let all = catalogs(&[A, B]);
    for answer in [|| ok(1), || status(503, 1), || status(404, 1)] {
        let (asked, _) = round(&all, Says::Now, |_| answer());
        assert_eq!(asked, [A]);
    }
}

/// A catalog that is away or not active leads to the others, each once; the one that answers is
/// kept to.
#[test]
fn the_others_follow_and_the_one_that_answers_is_kept_to() {
    for away in [silent, refused, || standby(None)] {
        let all = catalogs(&[A, B, C]);
        let answer = |url: &str| if url == C { ok(2) } else { away() };
        let (asked, ended) = round(&all, Says::Now, answer);
        assert_eq!(asked, [A, B, C]);
        assert!(ended.is_ok());
        let (asked, _) = round(&all, Says::Now, answer);
        assert_eq!(asked, [C]);
    }
}

/// A 421 is followed to a URL of the own list only, and never back to one that was asked.
#[test]
fn a_named_one_is_followed_within_the_list() {
    let all = catalogs(&[A, B, C]);
    let (asked, _) = round(&all, Says::Now, |url| match url {
        A => standby(Some(C)),
        _ => standby(Some(A)),
    });
    assert_eq!(asked, [A, C, B]);
    let all = catalogs(&[A, B]);
    let (asked, ended) = round(&all, Says::Now, |_| standby(Some("http://elsewhere:1")));
    assert_eq!(asked, [A, B]);
    assert!(ended.expect_err("nobody").no_catalog_is_active());
}

/// The error of a round is the gravest: an unknown outcome is never forgotten, and "none is
/// active" is said only if every catalog answered.
#[test]
fn the_gravest_error_ends_a_round() {
    let ended = |a: fn() -> Answer, b: fn() -> Answer| {
        let all = catalogs(&[A, B]);
        let answer = |url: &str| if url == A { a() } else { b() };
        round(&all, Says::Fact, answer).1.expect_err("nobody")
    };
    for (a, b) in [
        (silent as fn() -> Answer, refused as fn() -> Answer),
        (refused, silent),
        (silent, || standby(None)),
        (|| standby(None), silent),
    ] {
        assert!(ended(a, b).outcome_unknown());
    }
    let error = ended(|| standby(None), refused);
    assert!(!error.outcome_unknown() && !error.no_catalog_is_active());
    assert!(ended(|| standby(None), || standby(None)).no_catalog_is_active());
    let deposed = || {
        let body = br#"{"active":null,"epoch":3,"outcome_unknown":true}"#.to_vec();
        Err(CallError::Status {
            status: 421,
            body,
            epoch: None,
            unknown_before: false,
        })
    };
    assert!(ended(deposed, || standby(None)).outcome_unknown());
}

/// The active catalog refuses, and one that was asked before it is silent: the status of the
/// refusal counts, such as that of a fence, and the outcome is unknown all the same. In one round,
/// and over several.
#[test]
fn a_refusal_after_silence_leaves_the_outcome_unknown() {
    let all = catalogs(&[A, B]);
    let answer = |url: &str| if url == A { silent() } else { status(412, 1) };
    let error = round(&all, Says::Fact, answer).1.expect_err("refused");
    assert_eq!((error.status(), error.outcome_unknown()), (Some(412), true));

    let all = catalogs(&[A, B]);
    let mut calls = 0;
    let minute = Duration::from_secs(60);
    let ended = all.until(Says::Fact, minute, |_, _, _| {
        calls += 1;
        match calls {
            1 => silent(),
            2 => standby(None),
            _ => status(412, 1),
        }
    });
    let error = ended.expect_err("refused");
    assert_eq!((error.status(), error.outcome_unknown()), (Some(412), true));

    let all = catalogs(&[A, B]);
    let answer = |url: &str| if url == A { refused() } else { status(412, 1) };
    let error = round(&all, Says::Fact, answer).1.expect_err("refused");
    assert_eq!(
        (error.status(), error.outcome_unknown()),
        (Some(412), false)
    );
}

/// A takeover is expected where one stands by and no other one is merely silent: it may be cut
/// off from this caller alone.
#[test]
fn a_takeover_is_expected_where_the_others_are_dead() {
    let expected = |a: fn() -> Answer, b: fn() -> Answer| {
        let all = catalogs(&[A, B]);
        let answer = |url: &str| if url == A { a() } else { b() };
        let ended = all.try_round(Says::Now, |_, url| answer(url));
        ended.expect_err("nobody").takeover_expected
    };
    let stands_by: fn() -> Answer = || standby(Some(A));
    assert!(expected(refused, stands_by) && expected(stands_by, stands_by));
    assert!(!expected(silent, stands_by) && !expected(refused, refused));
    assert!(!expected(|| status(503, 1), stands_by));
}

/// A statement about now of an older epoch is no answer; a fact is one under any epoch.
#[test]
fn an_older_epoch_says_nothing_about_now() {
    let all = catalogs(&[A, B]);
    assert!(round(&all, Says::Now, |_| ok(3)).1.is_ok());
    for old in [|| ok(2), || status(412, 2), || Ok((7, None))] {
        let (asked, ended) = round(&all, Says::Now, |_| old());
        assert_eq!(asked, [A, B]);
        assert!(ended.expect_err("older").to_string().contains("epoch 3"));
    }
    assert!(round(&all, Says::Fact, |_| ok(2)).1.is_ok());
    assert_eq!(all.epoch(), 3, "the highest is kept");
    assert!(round(&all, Says::Now, |_| ok(4)).1.is_ok());
}

/// After a silent one the next round begins with one that answers, which names the active one.
#[test]
fn a_silent_one_is_not_asked_first_again() {
    let all = catalogs(&[A, B]);
    let answer = |url: &str| if url == A { silent() } else { standby(Some(A)) };
    let (asked, _) = round(&all, Says::Now, answer);
    assert_eq!(asked, [A, B]);
    let (asked, _) = round(&all, Says::Now, answer);
    assert_eq!(asked, [B, A]);
}

/// While none is active a call goes round again; a lone catalog is asked once.
#[test]
fn rounds_repeat_until_one_is_active() {
    let all = catalogs(&[A, B]);
    let mut calls = 0;
    let total = Duration::from_secs(60);
    let ended = all.until(Says::Fact, total, |_, url, left| {
        assert!(left <= total);
        calls += 1;
        match (calls, url) {
            (1, _) => silent(),
            (6.., B) => ok(2),
            _ => standby(None),
        }
    });
    assert!(ended.is_ok() && (6..=7).contains(&calls), "{calls}");
    let mut calls = 0;
    let short = all.until(Says::Fact, Duration::ZERO, |_, _, _| {
        calls += 1;
        if calls == 1 { silent() } else { standby(None) }
    });
    assert!(short.expect_err("nobody").outcome_unknown());
    let mut calls = 0;
    let ended = catalogs(&[A]).until(Says::Fact, total, |_, _, _| {
        calls += 1;
        refused()
    });
    assert!(ended.is_err() && calls == 1);
}

/// A newer epoch ends the calls that wait for another catalog, on every pool.
#[test]
fn a_newer_epoch_ends_calls_to_the_deposed() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let hangs = format!("http://{}", listener.local_addr().expect("an address"));
    let all = catalogs(&[&hangs, B]);
    let own = all.with_own_connections(1);
    let waits = std::thread::spawn(move || {
        let mut asked = 0;
        let ended = own.round(Says::Fact, |client, url| {
            asked += 1;
            if asked == 1 {
                client.get_dated::<u8>(url, "/", Duration::from_secs(60))
            } else {
                ok(5)
            }
        });
        (asked, ended.is_ok())
    });
    // The call is under way: its connection and head have arrived.
    let (stream, _) = listener.accept().expect("a call");
    assert!(stream.peek(&mut [0; 1]).expect("a head") > 0);
    let began = Instant::now();
    all.note_active(1, 5);
    assert_eq!(waits.join().expect("ends"), (2, true));
    assert!(began.elapsed() < Duration::from_secs(30));
}
