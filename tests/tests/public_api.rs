//! The public API against a real cluster: every row of its table, and the shape of every error.

use client::api::{Api, IDEMPOTENCY_KEY, RawResponse};
use cluster::service::Service;
use common::timing::PUBLIC_BODY_LIMIT_BYTES;
use common::wire::catalog::CatalogState;
use common::wire::order::Side;
use common::wire::public::{NewOrder, OrderInfo, OrdersPage, ReplicaState, Status, StockInfo};
use std::fs;
use tests::harness::Bazaar;

/// An error answer: status, the same code in the body, JSON, and a message with these words.
fn assert_error(answer: &RawResponse, status: u16, words: &[&str]) {
    assert_eq!(answer.status, status, "{answer:?}");
    let message = answer
        .error_message()
        .unwrap_or_else(|error| panic!("{error}: {answer:?}"));
    for word in words {
        assert!(
            message.to_lowercase().contains(&word.to_lowercase()),
            "'{word}' is not in '{message}'"
        );
    }
    assert!(
        answer
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("application/json")),
        "{answer:?}"
    );
}

fn get(api: &Api, path: &str) -> RawResponse {
    api.get(path)
        .unwrap_or_else(|error| panic!("GET {path}: {error}"))
}

fn post(api: &Api, body: &str) -> RawResponse {
    api.post("/orders", body)
        .unwrap_or_else(|error| panic!("POST {body}: {error}"))
}

/// Stocks: one, all, percent-decoded names, and 404 for those that are not there.
#[test]
fn stocks() {
    let bazaar = Bazaar::start();
    let api = bazaar.api();
    let all = api.stocks().expect("all stocks");
    let names: Vec<_> = all.iter().map(|stock| stock.name.as_str()).collect();
    assert_eq!(names.len(), 14);
    assert!(names.is_sorted(), "{names:?}");
    for name in ["GameStart", "FishCo", "BoarCo", "MenhirCo"] {
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
    for stock in &all {
        assert_eq!(stock.quantity, 100);
        assert!(stock.price.cents() > 0);
        assert_eq!(api.stock(&stock.name).as_ref(), Ok(stock));
    }
    let decoded: StockInfo = get(&api, "/stocks/%47ame%53tart")
        .data()
        .expect("names are percent-decoded");
    assert_eq!(decoded.name, "GameStart");
    assert_error(&get(&api, "/stocks/NoSuchCo"), 404, &["stock"]);
    assert_error(&get(&api, "/stocks/gamestart"), 404, &["stock"]);
    assert_error(&get(&api, "/stocks/%47ame%2FStart"), 404, &["stock"]);
    bazaar.close();
}

/// A price is a decimal number, and a bazaar can start with stocks of one's own, names with spaces
/// and umlauts included.
#[test]
fn own_stocks() {
    let csv =
        "name,price,quantity\nObélix & Söhne,15.99,7\nEmpty Co,0.50,0\nRichCo,1,1000000000000\n";
    let bazaar = Bazaar::start_with(1, |spec| {
        let path = spec.folder.join("stocks.csv");
        fs::write(&path, csv).expect("written");
        spec.set_for(
            Service::Catalog,
            "CATALOG_STOCKS",
            path.to_str().expect("UTF-8"),
        );
    });
    let api = bazaar.api();
    assert_eq!(api.stocks().expect("all stocks").len(), 3);
    let answer = get(&api, "/stocks/Ob%C3%A9lix%20%26%20S%C3%B6hne");
    assert!(answer.body.contains("15.99"), "{answer:?}");
    assert_eq!(answer.data::<StockInfo>().expect("the stock").quantity, 7);
    let refused = bazaar
        .trade("Empty Co", Side::Buy, 1)
        .expect_err("nothing is left");
    assert_eq!(refused.status(), Some(409), "{refused}");
    assert_eq!(bazaar.trade("Obélix & Söhne", Side::Buy, 7), Ok(0));
    assert_eq!(bazaar.quantity("Obélix & Söhne"), 0);
    assert_eq!(bazaar.trade("RichCo", Side::Buy, 1_000_000), Ok(1));
    assert_eq!(bazaar.quantity("RichCo"), 999_999_000_000);
    bazaar.close();
}

/// Orders: numbers from 0, both sides, reading back, too few left, an unknown stock; a refused
/// order takes no number.
#[test]
fn orders() {
    let bazaar = Bazaar::start();
    let api = bazaar.api();
    assert_error(&get(&api, "/orders/0"), 404, &["order"]);
    assert_eq!(bazaar.trade("FishCo", Side::Buy, 10), Ok(0));
    assert_eq!(bazaar.trade("FishCo", Side::Sell, 3), Ok(1));
    assert_eq!(bazaar.quantity("FishCo"), 93);
    let refused = post(&api, r#"{"name":"FishCo","quantity":94,"type":"buy"}"#);
    assert_error(&refused, 409, &["quantity"]);
    assert_eq!(bazaar.trade("FishCo", Side::Buy, 93), Ok(2));
    assert_eq!(bazaar.quantity("FishCo"), 0);
    assert_error(
        &post(&api, r#"{"name":"NoSuchCo","quantity":1,"type":"buy"}"#),
        404,
        &["stock"],
    );
    let order: OrderInfo = get(&api, "/orders/1").data().expect("the order");
    assert_eq!(
        (
            order.number,
            order.name.as_str(),
            order.side,
            order.quantity
        ),
        (1, "FishCo", Side::Sell, 3)
    );
    assert_error(&get(&api, "/orders/3"), 404, &["order"]);
    for beyond in [
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
    ] {
        assert_error(&get(&api, &format!("/orders/{beyond}")), 404, &["order"]);
    }
    for wrong in ["x", "-1", "1.0", "1e3", "+1", "%20"] {
        assert_error(&get(&api, &format!("/orders/{wrong}")), 400, &["number"]);
    }
    bazaar.close();
}

/// Every wrong body is a 400 that names the field, and trades nothing. The content type is not
/// looked at.
#[test]
fn wrong_bodies() {
    let bazaar = Bazaar::start();
    let api = bazaar.api();
    for quantity in [
        "12.0",
        "\"12\"",
        "0",
        "-1",
        "1e3",
        "null",
        "true",
        "1000001",
        "99999999999999999999",
        "[1]",
    ] {
        let body = format!(r#"{{"name":"FishCo","quantity":{quantity},"type":"buy"}}"#);
        assert_error(&post(&api, &body), 400, &["quantity"]);
    }
    let wrong = [
        (r#"{"quantity":1,"type":"buy"}"#, "name"),
        (r#"{"name":"FishCo","type":"buy"}"#, "quantity"),
        (r#"{"name":"FishCo","quantity":1}"#, "type"),
        (r#"{"name":"FishCo","quantity":1,"type":"steal"}"#, "type"),
        (r#"{"name":"FishCo","quantity":1,"type":"BUY"}"#, "type"),
        (r#"{"name":7,"quantity":1,"type":"buy"}"#, "name"),
        (
            r#"{"name":"FishCo","quantity":1,"type":"buy","price":1}"#,
            "price",
        ),
        (
            r#"{"name":"FishCo","quantity":1,"quantity":2,"type":"buy"}"#,
            "quantity",
        ),
        ("", ""),
        ("{", ""),
        ("[]", ""),
        ("null", ""),
        (r#"{"name":"FishCo","quantity":1,"type":"buy"} x"#, ""),
    ];
    for (body, field) in wrong {
        assert_error(&post(&api, body), 400, &[field]);
    }
    let not_text = api
        .send("POST", "/orders", &[], Some(b"\xff\xfe"))
        .expect("answered");
    assert_error(&not_text, 400, &[]);
    assert_eq!(bazaar.quantity("FishCo"), 100);
    let body = br#"{"name":"FishCo","quantity":1000000,"type":"sell"}"#;
    let odd = api
        .send(
            "POST",
            "/orders",
            &[("Content-Type", "text/plain")],
            Some(body),
        )
        .expect("answered");
    assert_eq!(odd.status, 200, "{odd:?}");
    assert_eq!(bazaar.quantity("FishCo"), 1_000_100);
    bazaar.close();
}

/// Unknown paths and wrong methods get error objects too.
#[test]
fn every_answer_has_its_shape() {
    let bazaar = Bazaar::start();
    let api = bazaar.api();
    for path in [
        "/nothing",
        "/stocks/a/b",
        "/orders/1/2",
        "/stock",
        "//",
        "/STOCKS",
    ] {
        let answer = get(&api, path);
        assert_error(&answer, 404, &[]);
    }
    for (method, path) in [
        ("DELETE", "/stocks/FishCo"),
        ("PUT", "/orders"),
        ("POST", "/stocks"),
        ("PATCH", "/status"),
        ("TRACE", "/stocks"),
        ("QUERY", "/orders"),
    ] {
        let answer = api
            .send(method, path, &[], Some(b"{}"))
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        assert_error(&answer, 405, &[]);
        assert!(
            answer.header("allow").is_some(),
            "a 405 says what is allowed: {answer:?}"
        );
    }
    assert_eq!(bazaar.trade("FishCo", Side::Buy, 1), Ok(0));
    bazaar.close();
}

/// A body of exactly the limit is taken, one byte more is a 413 with its error object.
#[test]
fn body_limit() {
    let bazaar = Bazaar::start();
    let api = bazaar.api();
    let of_size = |bytes: usize| {
        let order = r#"{"name":"FishCo","quantity":1,"type":"sell"}"#;
        format!("{order}{}", " ".repeat(bytes - order.len()))
    };
    assert_eq!(post(&api, &of_size(PUBLIC_BODY_LIMIT_BYTES)).status, 200);
    assert_error(&post(&api, &of_size(PUBLIC_BODY_LIMIT_BYTES + 1)), 413, &[]);
    assert_eq!(bazaar.quantity("FishCo"), 101);
    bazaar.close();
}

/// `/status` shows leader, term, replicas, catalog and cache; `/livez` and `/readyz` say yes.
#[test]
fn status_and_health() {
    let bazaar = Bazaar::start();
    bazaar.trade("FishCo", Side::Buy, 1).expect("trades");
    bazaar.wait_level();
    let status = bazaar.wait_status("everyone to have the order", |status| {
        status
            .replicas
            .iter()
            .all(|replica| replica.last == Some(0))
    });
    assert_eq!(status.leader.map(u8::from), Some(3));
    assert!(status.term >= 1);
    let replicas: Vec<_> = status
        .replicas
        .iter()
        .map(|r| (u8::from(r.id), r.state))
        .collect();
    use ReplicaState::{Follower, Leader};
    assert_eq!(replicas, [(1, Follower), (2, Follower), (3, Leader)]);
    assert_eq!(status.catalog.state, Some(CatalogState::Serving));
    assert!(
        status.cache.enabled && status.cache.capacity == 1_024,
        "{status:?}"
    );
    let api = bazaar.api();
    for path in ["/livez", "/readyz"] {
        let answer = get(&api, path);
        assert!(
            answer.status == 200 && answer.body.starts_with(r#"{"data":"#),
            "{answer:?}"
        );
    }
    // The shape on the wire, not only what our own types read from it.
    let raw: serde_json::Value = serde_json::from_str(&get(&api, "/status").body).expect("JSON");
    assert_eq!(raw["data"]["leader"], 3);
    assert_eq!(raw["data"]["replicas"][0]["state"], "follower");
    serde_json::from_value::<Status>(raw["data"].clone()).expect("no field more, none less");
    bazaar.close();
}

/// A trace id of the client comes back; without one, the front-end makes one.
#[test]
fn trace_ids() {
    let bazaar = Bazaar::start();
    let api = bazaar.api();
    let own = api
        .send(
            "GET",
            "/stocks/FishCo",
            &[("X-Request-Id", "my-trace-1")],
            None,
        )
        .expect("answered");
    assert_eq!(own.header("x-request-id"), Some("my-trace-1"));
    let made = get(&api, "/stocks/FishCo");
    assert!(
        made.header("x-request-id").is_some_and(|id| !id.is_empty()),
        "{made:?}"
    );
    bazaar.close();
}

/// An Idempotency-Key that is empty, too long or not visible ASCII is a 400; nothing is recorded
/// for 400 and 404.
#[test]
fn wrong_keys() {
    let bazaar = Bazaar::start();
    let api = bazaar.api();
    let body = br#"{"name":"FishCo","quantity":1,"type":"buy"}"#;
    let send = |key: &str, body: &[u8]| {
        api.send("POST", "/orders", &[(IDEMPOTENCY_KEY, key)], Some(body))
            .expect("answered")
    };
    for key in ["", "a b", &"x".repeat(256)] {
        assert_error(&send(key, body), 400, &["key"]);
    }
    assert_error(
        &send("k", br#"{"name":"FishCo","quantity":0,"type":"buy"}"#),
        400,
        &["quantity"],
    );
    assert_error(
        &send("k", br#"{"name":"NoSuchCo","quantity":1,"type":"buy"}"#),
        404,
        &["stock"],
    );
    assert_eq!(bazaar.quantity("FishCo"), 100);
    assert_eq!(send("k", body).status, 200, "the key was not used up");
    assert_eq!(send(&"x".repeat(255), body).status, 200);
    assert_eq!(bazaar.quantity("FishCo"), 98);
    bazaar.close();
}

/// The other server, tiny_http, gives the same answers.
#[test]
fn tiny_http() {
    let bazaar = Bazaar::start_with(1, |spec| {
        spec.set("FRONTEND_SERVER", "tiny_http");
    });
    let api = bazaar.api();
    assert_eq!(bazaar.trade("FishCo", Side::Buy, 10), Ok(0));
    assert_eq!(bazaar.quantity("FishCo"), 90);
    assert_error(&get(&api, "/nothing"), 404, &[]);
    assert_error(
        &api.send("DELETE", "/orders", &[], None).expect("answered"),
        405,
        &[],
    );
    assert_error(
        &post(&api, &" ".repeat(PUBLIC_BODY_LIMIT_BYTES + 1)),
        413,
        &[],
    );
    assert_error(
        &post(&api, r#"{"name":"FishCo","quantity":91,"type":"buy"}"#),
        409,
        &["quantity"],
    );
    bazaar.close();
}

/// Orders by page: oldest first, as many as asked for, with the way on; a page that is complete for
/// ever may be kept, the last one not.
#[test]
fn pages_of_orders() {
    let bazaar = Bazaar::start();
    let api = bazaar.api();
    let page = |query: &str| {
        let answer = get(&api, &format!("/orders{query}"));
        let page: OrdersPage = answer
            .data()
            .unwrap_or_else(|error| panic!("{query}: {error}"));
        let numbers: Vec<u64> = page.orders.iter().map(|order| order.number).collect();
        let kept = answer
            .header("cache-control")
            .is_some_and(|value| value.contains("immutable"));
        assert_eq!(kept, page.next.is_some(), "{answer:?}");
        (numbers, page.next)
    };
    assert_eq!(page(""), (vec![], None));
    for number in 0..7 {
        assert_eq!(bazaar.trade("FishCo", Side::Buy, number + 1), Ok(number));
    }
    assert_eq!(page("?limit=3"), (vec![0, 1, 2], Some(2)));
    assert_eq!(page("?limit=3&after=2"), (vec![3, 4, 5], Some(5)));
    assert_eq!(page("?limit=3&after=5"), (vec![6], None));
    assert_eq!(page("?limit=1000"), ((0..7).collect(), None));
    assert_eq!(
        page("?limit=7"),
        ((0..7).collect(), None),
        "a page that ends with the log has no next"
    );
    for beyond in [
        "6",
        "7",
        "9223372036854775807",
        "18446744073709551615",
        "99999999999999999999",
    ] {
        assert_eq!(page(&format!("?after={beyond}")), (vec![], None));
    }
    let page: OrdersPage = get(&api, "/orders?after=3&limit=1")
        .data()
        .expect("one order");
    assert_eq!(page.orders, [api.order_by_number(4).expect("is there")]);
    for (query, word) in [
        ("?after=x", "after"),
        ("?limit=0", "limit"),
        ("?limit=1001", "limit"),
        ("?page=2", "page"),
    ] {
        assert_error(&get(&api, &format!("/orders{query}")), 400, &[word]);
    }
    bazaar.close();
}

/// While the catalog is down, pages that are complete for ever are still answered, and no page says
/// that it is the last one.
#[test]
fn pages_without_the_catalog() {
    let mut bazaar = Bazaar::start();
    let api = bazaar.api();
    for number in 0..5 {
        assert_eq!(bazaar.trade("FishCo", Side::Buy, 1), Ok(number));
    }
    bazaar.wait_level();
    bazaar.cluster.kill(Service::Catalog).expect("it runs");
    let full: OrdersPage = get(&api, "/orders?limit=3")
        .data()
        .expect("any replica knows");
    assert_eq!((full.orders.len(), full.next), (3, Some(2)));
    assert_error(&get(&api, "/orders?after=2"), 503, &["try again"]);
    bazaar
        .cluster
        .start_service(Service::Catalog)
        .expect("starts again");
    bazaar.wait_status("the catalog", |status| {
        status.catalog.state == Some(CatalogState::Serving)
    });
    let rest: OrdersPage = get(&api, "/orders?after=2")
        .data()
        .expect("the leader is back");
    assert_eq!((rest.orders.len(), rest.next), (2, None));
    bazaar.close();
}

/// Caching rules of the responses: orders for ever, the description for minutes, everything else
/// not at all. `Location` names the place of a created order.
#[test]
fn caching_and_location() {
    let bazaar = Bazaar::start();
    let api = bazaar.api();
    let created = post(&api, r#"{"name":"FishCo","quantity":1,"type":"buy"}"#);
    assert_eq!(
        (created.status, created.header("location")),
        (200, Some("/orders/0")),
        "{created:?}"
    );
    bazaar.recorder.note(
        0,
        &NewOrder {
            name: "FishCo".into(),
            quantity: 1,
            side: Side::Buy,
        },
        None,
    );
    let order = get(&api, created.header("location").unwrap_or_default());
    assert_eq!(order.data::<OrderInfo>().map(|order| order.number), Ok(0));
    for (path, words) in [
        ("/orders/0", "public, max-age=31536000, immutable"),
        ("/openapi.json", "public, max-age=300"),
        ("/stocks/FishCo", "no-store"),
        ("/stocks/FishCo", "no-store"),
        ("/stocks", "no-store"),
        ("/orders", "no-store"),
        ("/orders/1", "no-store"),
        ("/status", "no-store"),
        ("/readyz", "no-store"),
        ("/nothing", "no-store"),
    ] {
        assert_eq!(
            get(&api, path).header("cache-control"),
            Some(words),
            "{path}"
        );
    }
    assert_eq!(created.header("cache-control"), Some("no-store"));
    assert_error(&get(&api, &format!("/{}", "x".repeat(3_000))), 414, &[]);
    bazaar.close();
}
