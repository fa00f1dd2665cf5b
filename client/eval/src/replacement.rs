//! The replacement experiment: the cache has room for a few stocks only, and after each request the
//! experiment reads its content.

use super::plan::Plan;
use super::progress::Progress;
use super::tables::{Cache, ReplacementRow};
use super::target::{CacheSetting, Target};
use client::api::Api;
use common::wire::frontend::CachedNames;
use common::wire::order::Side;
use common::wire::public::NewOrder;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Lookup(String),
    Order(String),
}

/// Sends a short sequence of requests and reads the cache's content after each. Returns no rows
/// where the content cannot be read, or the cache cannot be made small.
pub fn measure(
    target: &mut Target,
    plan: &Plan,
    progress: &mut Progress,
) -> Result<Vec<ReplacementRow>, String> {
    progress.step("cache replacement", Duration::from_secs(3));
    // Without the right token the internal listener refuses.
    let Some(internal) = target
        .internal()
        .filter(|api| api.internal::<CachedNames>("/cache").is_ok())
    else {
        return Ok(Vec::new());
    };
    target.set_cache(CacheSetting {
        cache: Cache::On,
        capacity: Some(plan.small_capacity),
    })?;
    let api = target.api();
    let capacity = target.status()?.cache.capacity;
    let names: Vec<String> = api
        .stocks()
        .map_err(|e| e.to_string())?
        .into_iter()
        .map(|stock| stock.name)
        .collect();
    if capacity >= names.len() {
        return Ok(Vec::new());
    }
    let steps = steps(&names, capacity);
    let rows = (1..).zip(&steps).map(|(step, what)| {
        let (request, name) = match what {
            Step::Lookup(name) => ("lookup", name),
            Step::Order(name) => ("order", name),
        };
        let hits = target.status()?.cache.hits;
        carry_out(&api, what)?;
        let hit = target.status()?.cache.hits > hits;
        let held: CachedNames = internal
            .internal("/cache")
            .map_err(|e| format!("GET /cache: {e}"))?;
        Ok(ReplacementRow {
            step,
            capacity,
            request: request.into(),
            name: name.clone(),
            hit,
            cached: held.names.join(" "),
        })
    });
    rows.collect()
}

/// Three parts. First every stock once, which pushes the first stocks out. Then two favourites
/// between others: the favourites stay. Then orders, each of which removes a favourite until the
/// next lookup.
fn steps(names: &[String], capacity: usize) -> Vec<Step> {
    let lookup = |name: &String| Step::Lookup(name.clone());
    let mut steps: Vec<Step> = names.iter().map(lookup).collect();
    let (favourites, others) = names.split_at(2.min(names.len()));
    for other in others.iter().take(2 * capacity - 2) {
        steps.extend(favourites.iter().map(lookup));
        steps.push(lookup(other));
    }
    if let Some(favourite) = favourites.first() {
        for _ in 0..2 {
            steps.push(Step::Order(favourite.clone()));
            steps.extend(favourites.iter().map(lookup));
            steps.push(lookup(favourite));
        }
    }
    steps
}

fn carry_out(api: &Api, step: &Step) -> Result<(), String> {
    match step {
        Step::Lookup(name) => api
            .stock(name)
            .map(drop)
            .map_err(|e| format!("{name}: {e}")),
        Step::Order(name) => {
            let order = NewOrder {
                name: name.clone(),
                quantity: 1,
                side: Side::Sell,
            };
            api.order(&order, None)
                .map(drop)
                .map_err(|e| format!("{name}: {e}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sequence looks every stock up first, repeats the favourites, and has two orders.
    #[test]
    fn sequence() {
        let names: Vec<String> = (0..6).map(|i| format!("s{i}")).collect();
        let steps = steps(&names, 3);
        assert_eq!(
            steps[..6],
            names
                .iter()
                .map(|name| Step::Lookup(name.clone()))
                .collect::<Vec<_>>()
        );
        assert_eq!(
            steps
                .iter()
                .filter(|step| **step == Step::Order("s0".into()))
                .count(),
            2
        );
        assert!(
            steps
                .iter()
                .filter(|step| **step == Step::Lookup("s1".into()))
                .count()
                > 4
        );
    }
}
