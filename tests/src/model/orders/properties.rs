//! The properties of every state (numbered as in `docs/model.md`), and the states that must be
//! reached.

use super::Orders;
use super::catalog::Verdict;
use super::config::{Config, REPLICAS};
use super::settle::Continuation;
use super::state::{Broken, Message, State};
use stateright::Property;

/// Numbers are given once, in the order of commits, and keep their content.
pub const NUMBERS: &str = "1: a number has one content for ever";
/// Logs are prefixes of the journal.
pub const PREFIX: &str = "2: every log is a prefix of the journal";
/// Acknowledged orders are where they must be.
pub const DURABLE: &str = "3: acknowledged orders are durable where they must be";
/// Acknowledged orders can be read.
pub const READABLE: &str = "3: every leader can read every acknowledged order";
/// A query for it never says that there is none.
pub const FOUND: &str = "3: no query denies an acknowledged order";
/// One key, one order.
pub const ONCE: &str = "4: one key trades at most once, and never after a refusal";
/// Nothing is bought that is not there.
pub const CONSERVED: &str = "5: quantities are conserved and never below zero";
/// Old terms are fenced.
pub const FENCED: &str = "6: no trade of an older term commits";
/// Answers fit the order of events.
pub const LINEAR: &str = "7: answers are linearizable, and the same for every repeat";
/// The catalog never mistrusts its own replicas.
pub const TRUSTED: &str = "the catalog never finds its history lost";
/// A run without further faults answers.
pub const SETTLES: &str = "live: without further faults every order is answered";
/// The same with one replica alone.
pub const SETTLES_ALONE: &str = "live: with any one replica alone every order is answered";
/// The same with a replica that the catalog cannot be reached from.
pub const SETTLES_CUT_OFF: &str =
    "live: with one replica cut off from the catalog every order is answered";

/// An order given in a later term.
pub const AFTER_FAILOVER: &str = "reached: an order is acknowledged after a failover";
/// A refusal is repeated although there is enough by now.
pub const REFUSED_AGAIN: &str = "reached: a refusal is repeated after a restock";
/// An answer carries the rows of one that was lost.
pub const ROWS_CAUGHT_UP: &str = "reached: an answer carries a row whose own answer was lost";
/// A leader of an older term calls the catalog.
pub const OLD_LEADER: &str = "reached: a leader of an older term sends a trade";
/// A candidate with a shorter log.
pub const COMPLETING: &str = "reached: a candidate has to complete its log";
/// A replica that lost its file leads.
pub const REFILLED: &str = "reached: a replica that lost its file leads with a full log";
/// Three copies.
pub const THREE_COPIES: &str = "reached: an order is acknowledged with three copies";
/// Orders during the wait.
pub const WAITING: &str = "reached: a leader calls a catalog that has just started";

/// The properties of a configuration.
pub fn all(config: &Config) -> Vec<Property<Orders>> {
    let mut all = vec![
        Property::always(NUMBERS, |_, s: &State| numbers_keep_their_content(s)),
        Property::always(PREFIX, |_, s: &State| {
            logs_are_prefixes(s) && !s.broken.contains(&Broken::Contradiction)
        }),
        Property::always(DURABLE, |_, s: &State| {
            !s.broken.contains(&Broken::AcknowledgedTooEarly)
        }),
        Property::always(READABLE, |_, s: &State| leader_has_all(s)),
        Property::always(FOUND, |_, s: &State| {
            !s.broken.contains(&Broken::AcknowledgedNotFound)
        }),
        Property::always(ONCE, |_, s: &State| keys_trade_once(s)),
        Property::always(CONSERVED, |m: &Orders, s: &State| {
            State::left_after(&m.0, &s.catalog.journal) == Some(s.catalog.left)
        }),
        Property::always(FENCED, |_, s: &State| {
            !s.broken.contains(&Broken::OldTermTraded)
        }),
        Property::always(LINEAR, |_, s: &State| {
            !s.broken.contains(&Broken::NotLinearizable)
                && !s.broken.contains(&Broken::ToldTwoThings)
        }),
        Property::always(TRUSTED, |_, s: &State| {
            !s.broken.contains(&Broken::HistoryLost)
        }),
        Property::always(SETTLES, |m: &Orders, s: &State| {
            s.settles(&m.0, Continuation::Healed)
        }),
        Property::always(SETTLES_ALONE, |m: &Orders, s: &State| {
            // One alone is too few for a minimum of copies, by intent.
            m.0.min_copies > 1
                || (0..REPLICAS).all(|survivor| s.settles(&m.0, Continuation::Alone(survivor)))
        }),
        Property::always(SETTLES_CUT_OFF, |m: &Orders, s: &State| {
            (0..REPLICAS).all(|cut| s.settles(&m.0, Continuation::CutOff(cut)))
        }),
    ];
    all.extend(config.reached.iter().map(|name| reached(name)));
    all
}

/// The states that must be reached.
///
/// # Panics
/// For a name that is none of the above.
fn reached(name: &'static str) -> Property<Orders> {
    let reached: fn(&Orders, &State) -> bool = match name {
        AFTER_FAILOVER => |_, s| {
            s.replicas.iter().any(|r| {
                r.pipeline
                    .as_ref()
                    .is_some_and(|p| p.term >= 2 && s.acknowledged >> p.base & 1 == 1 && p.base > 0)
            })
        },
        REFUSED_AGAIN => |m, s| {
            s.net.iter().any(|message| match message {
                Message::Reply {
                    key,
                    verdict: Verdict::Refused,
                } => {
                    let order = m.0.orders[usize::from(*key)];
                    s.clients[usize::from(*key)].verdict == Some(Verdict::Refused)
                        && s.catalog.left[order.stock] >= order.quantity
                }
                _ => false,
            })
        },
        ROWS_CAUGHT_UP => |_, s| {
            s.net
                .iter()
                .any(|m| matches!(m, Message::Traded { rows, .. } if rows.len() > 1))
        },
        OLD_LEADER => |_, s| {
            let current = s.catalog.term_info().term;
            s.net
                .iter()
                .any(|m| matches!(m, Message::Trade { term, .. } if *term < current))
        },
        COMPLETING => |_, s| s.replicas.iter().any(|r| r.role.claiming().is_some()),
        REFILLED => |_, s| {
            s.replicas
                .iter()
                .any(|r| r.lost && r.pipeline.is_some() && !r.log.is_empty())
        },
        THREE_COPIES => |_, s| {
            let copies = |p: &super::replica::Pipeline| p.tracker.copies() == REPLICAS;
            s.acknowledged != 0
                && s.replicas
                    .iter()
                    .any(|r| r.pipeline.as_ref().is_some_and(copies))
        },
        WAITING => |_, s| {
            !s.catalog.serving
                && s.net
                    .iter()
                    .any(|message| matches!(message, Message::Trade { .. }))
        },
        other => panic!("nothing is known about '{other}'"),
    };
    Property::sometimes(name, reached)
}

/// Every number that was answered, or is on its way, belongs to its key.
fn numbers_keep_their_content(s: &State) -> bool {
    let answered = (0..)
        .zip(&s.clients)
        .filter_map(|(key, client)| Some((key, client.verdict?)));
    let on_the_way = s.net.iter().filter_map(|message| match message {
        Message::Reply { key, verdict } => Some((*key, *verdict)),
        _ => None,
    });
    answered
        .chain(on_the_way)
        .all(|(key, verdict)| match verdict {
            Verdict::Accepted(number) => s.catalog.journal.get(usize::from(number)) == Some(&key),
            Verdict::Refused => true,
        })
}

fn logs_are_prefixes(s: &State) -> bool {
    s.replicas.iter().all(|replica| {
        let received = replica
            .pipeline
            .as_ref()
            .map_or(&[][..], |pipeline| &pipeline.received);
        s.catalog.journal.starts_with(&replica.log) && s.catalog.journal.starts_with(received)
    })
}

fn leader_has_all(s: &State) -> bool {
    s.leader()
        .is_none_or(|leader| s.acknowledged >> s.replicas[leader].log.len() == 0)
}

fn keys_trade_once(s: &State) -> bool {
    let refused = |key: &u8| s.clients[usize::from(*key)].verdict == Some(Verdict::Refused);
    let mut keys = s.catalog.journal.clone();
    keys.sort_unstable();
    keys.windows(2).all(|pair| pair[0] != pair[1]) && !keys.iter().any(refused)
}
