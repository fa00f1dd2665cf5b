//! Messages between services, held to samples: files of what each version sends. Two versions work
//! side by side while a bazaar is upgraded, so a change of a message must not go unnoticed.

use common::chain::Hash;
use common::http::protocol::PROTOCOL;
use common::wire::Empty;
use common::wire::catalog::{
    CatalogHealth, CatalogRole, CatalogState, ClaimAnswer, ClaimRequest, KeepAliveRequest,
    LeaseAnswer, LookupAnswer, LookupRequest, NotActive, RegisterRequest, SessionId, Stock,
    TermAnswer, TermInfo, TradeAnswer, TradeRequest,
};
use common::wire::frontend::{CachedNames, EndSessionRequest, InvalidateRequest};
use common::wire::money::Price;
use common::wire::order::{
    ClusterId, Genesis, InitialStock, Order, OrderKey, Position, ReplicaId, Rows, Side, Submission,
    Verdict,
};
use common::wire::replica::{
    AppendRequest, Copies, Health, LeadAnswer, LeadRequest, LeaderNotice, LogPosition, NotLeader,
    OrdersAnswer, OrdersRequest, PageAnswer, PageCall, PageEnd, PageRequest, QueryAnswer,
    QueryAnswers, QueryRequest, Traced, Unavailable,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::{Path, PathBuf};

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire")
}

/// One message.
struct Sample {
    /// Name of its file, without `.json`.
    name: &'static str,
    /// The message as this version sends it.
    sent: Value,
    /// Reads a file as this version's type; the text says how it does not fit.
    read: fn(&str) -> Result<(), String>,
}

/// A message that comes with `name.json`.
fn sample<T>(name: &'static str, message: &T) -> Sample
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let sent = serde_json::to_value(message).expect("wire types serialise");
    let back: T = serde_json::from_value(sent.clone()).expect("reads what it wrote");
    assert_eq!(&back, message, "{name}");
    Sample {
        name,
        sent,
        read: |text| {
            let plain: T = serde_json::from_str(text).map_err(|e| e.to_string())?;
            let mut longer: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
            add_unknown_fields(&mut longer);
            let with_more: T = serde_json::from_value(longer)
                .map_err(|e| format!("with a field that this version does not know: {e}"))?;
            if plain == with_more {
                Ok(())
            } else {
                Err(format!("an unknown field changed it to {with_more:?}"))
            }
        },
    }
}

/// Keys that say which variant of an enum their object is: such an object has no other key.
const VARIANTS: [&str; 6] = [
    "accepted", "claiming", "found", "granted", "leading", "wait",
];

/// Adds a field to every object of a message, as a later version might.
fn add_unknown_fields(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(add_unknown_fields),
        Value::Object(fields) => {
            fields.values_mut().for_each(add_unknown_fields);
            let first = fields.keys().next().map(String::as_str);
            let is_variant = fields.len() == 1 && first.is_some_and(|key| VARIANTS.contains(&key));
            if !is_variant {
                fields.insert("from_a_later_version".into(), Value::Bool(true));
            }
        }
        _ => {}
    }
}

fn replica(id: u8) -> ReplicaId {
    ReplicaId::try_from(id).expect("an id")
}

fn cluster() -> ClusterId {
    ClusterId("0123456789abcdef".repeat(2))
}

fn session() -> SessionId {
    SessionId("fedcba9876543210".repeat(2))
}

fn position() -> Position {
    Position {
        last: Some(41),
        hash: Hash([7; 32]),
    }
}

fn order() -> Order {
    Order {
        key: OrderKey::from_time(1_000, 7),
        name: "FishCo".into(),
        side: Side::Buy,
        quantity: 3,
    }
}

fn rows() -> Rows {
    Rows {
        first: 42,
        orders: vec![order()],
        hash: Hash([8; 32]),
    }
}

fn submission() -> Submission {
    Submission {
        order: Order {
            side: Side::Sell,
            ..order()
        },
        trace: "00000000000000ab".into(),
    }
}

fn price() -> Price {
    Price::from_cents(15_99).expect("a price")
}

fn of_the_catalog() -> Vec<Sample> {
    let term = TermInfo {
        term: 7,
        owner: Some(replica(3)),
    };
    vec![
        sample(
            "catalog.term-answer",
            &TermAnswer {
                term: 7,
                owner: Some(replica(3)),
                cluster: cluster(),
            },
        ),
        sample("catalog.term-info", &term),
        sample(
            "catalog.claim-request",
            &ClaimRequest {
                replica: replica(2),
                cluster: cluster(),
                position: position(),
                seen: 7,
                longest: Some(41),
            },
        ),
        sample(
            "catalog.claim-answer.granted",
            &ClaimAnswer::Granted {
                term: 8,
                end: position(),
            },
        ),
        sample("catalog.claim-answer.wait", &ClaimAnswer::Wait { ms: 120 }),
        sample(
            "catalog.trade-request",
            &TradeRequest {
                term: 7,
                replica: replica(3),
                cluster: cluster(),
                position: position(),
                orders: vec![submission()],
            },
        ),
        sample(
            "catalog.trade-answer",
            &TradeAnswer {
                verdicts: vec![
                    Verdict::Accepted(42),
                    Verdict::InsufficientQuantity,
                    Verdict::UnknownStock,
                    Verdict::KeyReused,
                ],
                rows: rows(),
                end: position(),
            },
        ),
        sample(
            "catalog.lookup-request",
            &LookupRequest {
                names: Some(vec!["FishCo".into()]),
            },
        ),
        sample("catalog.lookup-request.all", &LookupRequest { names: None }),
        sample(
            "catalog.lookup-answer",
            &LookupAnswer {
                stocks: vec![Stock {
                    name: "FishCo".into(),
                    price: price(),
                    quantity: 97,
                    cacheable: true,
                }],
            },
        ),
        sample(
            "catalog.register-request",
            &RegisterRequest {
                session: session(),
                url: "http://127.0.0.1:7000".into(),
            },
        ),
        sample(
            "catalog.keep-alive-request",
            &KeepAliveRequest { session: session() },
        ),
        sample("catalog.lease-answer", &LeaseAnswer { lease_ms: 1_000 }),
        sample(
            "catalog.health",
            &CatalogHealth {
                state: CatalogState::Serving,
                cluster: cluster(),
                term,
                last: Some(41),
                hash: Hash([7; 32]),
                sessions: 2,
                write_fault: Some("disk full".into()),
                role: CatalogRole::Standby,
                epoch: 4,
                protocol: "1.0".into(),
                version: "0.1.0".into(),
            },
        ),
        sample(
            "catalog.not-active",
            &NotActive {
                active: Some("http://127.0.0.1:7100".into()),
                epoch: 4,
                outcome_unknown: true,
            },
        ),
    ]
}

fn of_a_frontend() -> Vec<Sample> {
    vec![
        sample(
            "frontend.invalidate-request",
            &InvalidateRequest {
                session: session(),
                names: vec!["FishCo".into()],
            },
        ),
        sample(
            "frontend.end-session-request",
            &EndSessionRequest { session: session() },
        ),
        sample(
            "frontend.cached-names",
            &CachedNames {
                names: vec!["FishCo".into()],
            },
        ),
        sample("empty", &Empty {}),
    ]
}

fn of_a_replica() -> Vec<Sample> {
    let page = |end| PageAnswer {
        orders: vec![order()],
        end,
    };
    vec![
        sample(
            "replica.health",
            &Health {
                replica: replica(3),
                leading: Some(7),
                claiming: Some(8),
                eligible: true,
                catching_up: false,
                last: Some(41),
                cluster: Some(cluster()),
                term: 7,
                leader: Some(replica(3)),
                in_sync: vec![replica(1), replica(2)],
                copies: Some(Copies {
                    present: 3,
                    wanted: 2,
                }),
                protocol: "1.0".into(),
                version: "0.1.0".into(),
            },
        ),
        sample(
            "replica.lead-request",
            &LeadRequest {
                cluster: cluster(),
                seen: 7,
                longest: Some(41),
            },
        ),
        sample("replica.lead-answer.leading", &LeadAnswer::Leading(8)),
        sample("replica.lead-answer.claiming", &LeadAnswer::Claiming(8)),
        sample("replica.lead-answer.wait", &LeadAnswer::Wait(120)),
        sample(
            "replica.leader-notice",
            &LeaderNotice {
                cluster: cluster(),
                term: 8,
                leader: replica(2),
            },
        ),
        sample(
            "replica.orders-request",
            &OrdersRequest {
                orders: vec![submission()],
            },
        ),
        sample(
            "replica.orders-answer",
            &OrdersAnswer {
                verdicts: vec![Verdict::Accepted(42), Verdict::KeyReused],
            },
        ),
        sample(
            "replica.not-leader",
            &NotLeader {
                term: 7,
                leader: Some(replica(3)),
                outcome_unknown: true,
            },
        ),
        sample(
            "replica.unavailable",
            &Unavailable {
                message: "disk full".into(),
                outcome_unknown: false,
                retry: true,
            },
        ),
        sample(
            "replica.query-request",
            &QueryRequest {
                cluster: Some(cluster()),
                numbers: vec![41, 42],
                found_only: true,
            },
        ),
        sample(
            "replica.query-answers",
            &QueryAnswers {
                answers: vec![
                    QueryAnswer::Found(order()),
                    QueryAnswer::NotFound,
                    QueryAnswer::NotLeader,
                    QueryAnswer::Unconfirmed,
                ],
            },
        ),
        sample(
            "replica.page-call",
            &PageCall {
                cluster: Some(cluster()),
                page: PageRequest {
                    first: 40,
                    limit: 100,
                    found_only: false,
                },
            },
        ),
        sample("replica.page-answer.more", &page(PageEnd::More)),
        sample("replica.page-answer.last", &page(PageEnd::Last)),
        sample("replica.page-answer.not-leader", &page(PageEnd::NotLeader)),
        sample(
            "replica.page-answer.unconfirmed",
            &page(PageEnd::Unconfirmed),
        ),
        sample(
            "replica.append-request",
            &AppendRequest {
                term: 7,
                leader: replica(3),
                cluster: cluster(),
                rows: rows(),
                traces: vec![Traced {
                    number: 42,
                    trace: "00000000000000ab".into(),
                }],
            },
        ),
        sample(
            "replica.append-request.untraced",
            &AppendRequest {
                term: 7,
                leader: replica(3),
                cluster: cluster(),
                rows: rows(),
                traces: Vec::new(),
            },
        ),
        sample(
            "replica.log-position",
            &LogPosition {
                replica: replica(2),
                cluster: Some(cluster()),
                position: Some(position()),
            },
        ),
        sample("rows", &rows()),
        sample(
            "genesis",
            &Genesis {
                cluster: cluster(),
                stocks: vec![InitialStock {
                    name: "FishCo".into(),
                    price: price(),
                    quantity: 100,
                }],
            },
        ),
    ]
}

fn all() -> Vec<Sample> {
    let mut all = of_the_catalog();
    all.extend(of_a_frontend());
    all.extend(of_a_replica());
    all
}

/// This version sends what its samples say. `BAZAAR_WRITE_SAMPLES=1` writes them instead.
#[test]
fn this_version_sends_what_its_samples_say() {
    let folder = samples().join(PROTOCOL.to_string());
    let write = std::env::var_os("BAZAAR_WRITE_SAMPLES").is_some();
    for sample in all() {
        let path = folder.join(format!("{}.json", sample.name));
        let sent = serde_json::to_string_pretty(&sample.sent).expect("serialises") + "\n";
        if write {
            std::fs::create_dir_all(&folder).expect("makes the folder");
            std::fs::write(&path, sent).expect("writes the sample");
            continue;
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(
            sent,
            kept,
            "\nThe message {} is not what protocol {PROTOCOL} sends ({}).\n\
             - A field or message was added: raise the minor version in \
             common/src/http/protocol.rs, give the field a default, and write the new samples:\n  \
             BAZAAR_WRITE_SAMPLES=1 cargo test --workspace --test wire\n\
             - A field was removed, renamed or means something else: that is a major version, over \
             which no upgrade without downtime leads. Find another way, or raise it in the same \
             way.\n\
             The samples of older versions stay as they are.\n",
            sample.name,
            path.display()
        );
    }
}

/// Every sample of every version is read, and a field that this version does not know changes
/// nothing.
#[test]
fn every_versions_samples_are_read() {
    let known = all();
    let mut versions = 0;
    for version in std::fs::read_dir(samples()).expect("the folder of samples") {
        let version = version.expect("a folder").path();
        let major = version.file_name().and_then(|name| name.to_str());
        let major = major.and_then(|name| name.split('.').next()?.parse().ok());
        if major != Some(PROTOCOL.major) {
            continue;
        }
        versions += 1;
        for file in std::fs::read_dir(&version).expect("the folder of a version") {
            let file = file.expect("a file").path();
            let name = file.file_stem().and_then(|name| name.to_str());
            let sample = known.iter().find(|sample| Some(sample.name) == name);
            let sample =
                sample.unwrap_or_else(|| panic!("{} is the sample of no message", file.display()));
            let text = std::fs::read_to_string(&file).expect("a sample");
            (sample.read)(&text)
                .unwrap_or_else(|why| panic!("{} is not read as before: {why}", file.display()));
        }
    }
    assert!(versions > 0, "there are samples of this major version");
}

/// No message is without a sample: every type of the wire modules stands in this file.
#[test]
fn every_type_of_the_wire_has_a_sample() {
    let wire = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/wire");
    let own = include_str!("wire.rs");
    let mut types = BTreeSet::new();
    for module in ["catalog", "frontend", "order", "replica"] {
        let text = std::fs::read_to_string(wire.join(module).with_extension("rs"));
        for line in text.expect("the module").lines() {
            let name = line.strip_prefix("pub struct ");
            let Some(name) = name.or_else(|| line.strip_prefix("pub enum ")) else {
                continue;
            };
            let end = name
                .find(|c: char| !c.is_alphanumeric())
                .unwrap_or(name.len());
            types.insert(name[..end].to_owned());
        }
    }
    assert!(types.len() > 30, "{types:?}");
    for name in types {
        assert!(own.contains(&name), "{name} is in no sample");
    }
}

/// Health of a catalog that says nothing of role, epoch and versions: it is one before them.
#[test]
fn a_catalog_of_the_version_before_is_active() {
    let old = include_str!("wire/1.0/catalog.health.json");
    let mut old: Value = serde_json::from_str(old).expect("JSON");
    let fields = old.as_object_mut().expect("an object");
    for added in ["role", "epoch", "protocol", "version"] {
        fields.remove(added).expect("is there");
    }
    let read: CatalogHealth = serde_json::from_value(old).expect("reads");
    assert_eq!((read.role, read.epoch), (CatalogRole::Active, 0));
    assert_eq!((&*read.protocol, &*read.version), ("1.0", ""));
}
