//! Judges a short history of one stock by trying every sequence that real time allows: the search
//! of Wing and Gong ("Testing and Verifying Concurrent Objects", 1993), with the memory of visited
//! states that Lowe added ("Testing for linearizability", 2017). It knows nothing of the log.

use super::{Answer, Call, Event};
use common::wire::order::Side;
use std::collections::HashSet;

/// Calls that one search takes at most: a bit each.
pub const MOST: usize = 64;

/// The effect of a call.
#[derive(Debug, Clone, Copy)]
enum Effect {
    Trade {
        side: Side,
        quantity: u64,
        number: u64,
    },
    Refused {
        quantity: u64,
    },
    Read {
        quantity: u64,
    },
    /// It traded, was refused, or never arrived.
    Open {
        side: Side,
        quantity: u64,
    },
}

#[derive(Debug)]
struct Operation {
    start_us: u64,
    end_us: u64,
    effect: Effect,
}

/// Whether a sequence of the calls on `stock` exists that one stock with so many at first explains.
///
/// # Panics
/// When there are more than [`MOST`] calls on the stock.
pub fn linearizable(stock: &str, initial: u64, events: &[Event]) -> bool {
    let operations: Vec<Operation> = events
        .iter()
        .filter_map(|event| operation(event, stock))
        .collect();
    assert!(
        operations.len() <= MOST,
        "{} calls are too many for a search",
        operations.len()
    );
    let needed = operations
        .iter()
        .enumerate()
        .filter(|(_, o)| !matches!(o.effect, Effect::Open { .. }));
    let needed = needed.fold(0_u64, |all, (at, _)| all | 1 << at);
    let mut search = Search {
        operations,
        needed,
        seen: HashSet::new(),
    };
    search.from(0, initial, None)
}

fn operation(event: &Event, stock: &str) -> Option<Operation> {
    let effect = match (&event.call, &event.answer) {
        (Call::Read { name }, Answer::Quantity(quantity)) if name == stock => Effect::Read {
            quantity: *quantity,
        },
        (Call::Order { order, .. }, answer) if order.name == stock => match answer {
            Answer::Number(number) => Effect::Trade {
                side: order.side,
                quantity: order.quantity,
                number: *number,
            },
            Answer::Refused if order.side == Side::Buy => Effect::Refused {
                quantity: order.quantity,
            },
            // Nothing is below 0: never possible.
            Answer::Refused => Effect::Refused { quantity: 0 },
            Answer::Unknown => Effect::Open {
                side: order.side,
                quantity: order.quantity,
            },
            _ => return None,
        },
        _ => return None,
    };
    // A call without a response may take effect at any later time.
    let end_us = if matches!(effect, Effect::Open { .. }) {
        u64::MAX
    } else {
        event.end_us
    };
    Some(Operation {
        start_us: event.start_us,
        end_us,
        effect,
    })
}

#[derive(Debug)]
struct Search {
    operations: Vec<Operation>,
    /// Those that must have happened in the end.
    needed: u64,
    /// States that led nowhere: what has happened, and the quantity then. The last number follows
    /// from what has happened.
    seen: HashSet<(u64, u64)>,
}

impl Search {
    fn from(&mut self, done: u64, left: u64, last: Option<u64>) -> bool {
        if done & self.needed == self.needed {
            return true;
        }
        if !self.seen.insert((done, left)) {
            return false;
        }
        let pending = |at: &usize| done & 1 << at == 0;
        // The call that ends first must happen before any that begins later.
        let earliest = (0..self.operations.len())
            .filter(pending)
            .map(|at| self.operations[at].end_us)
            .min();
        let earliest = earliest.unwrap_or(u64::MAX);
        for at in (0..self.operations.len())
            .filter(pending)
            .collect::<Vec<_>>()
        {
            if self.operations[at].start_us <= earliest
                && let Some((left, last)) = happen(self.operations[at].effect, left, last)
                && self.from(done | 1 << at, left, last)
            {
                return true;
            }
        }
        false
    }
}

/// Quantity and last number after an effect, if it is possible now.
fn happen(effect: Effect, left: u64, last: Option<u64>) -> Option<(u64, Option<u64>)> {
    let trade = |side, quantity| match side {
        Side::Buy => left.checked_sub(quantity),
        Side::Sell => Some(left + quantity),
    };
    match effect {
        Effect::Trade {
            side,
            quantity,
            number,
        } if last.is_none_or(|last| last < number) => Some((trade(side, quantity)?, Some(number))),
        Effect::Trade { .. } => None,
        Effect::Refused { quantity } => (left < quantity).then_some((left, last)),
        Effect::Read { quantity } => (left == quantity).then_some((left, last)),
        Effect::Open { side, quantity } => Some((trade(side, quantity).unwrap_or(left), last)),
    }
}
