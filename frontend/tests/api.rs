//! The public API over HTTP: every path, status and error shape.

mod support;

use common::wire::replica::Unavailable;
use serde_json::{Value, json};
use support::client::order;
use support::replica::Manner;
use support::{Bazaar, wait_for};

/// Stocks are read one by one, with percent-encoded names, and all at once, sorted by name.
#[test]
fn stocks() {
    let bazaar = Bazaar::ready();
    let answer = bazaar.client.get("/stocks/FishCo");
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("application/json"))
    );
    assert_eq!(
        answer.body,
        json!({ "data": { "name": "FishCo", "price": 15.99, "quantity": 100 } })
    );
    assert_eq!(bazaar.client.get("/stocks/F%69shCo").body, answer.body);
    assert_eq!(bazaar.client.get("/stocks/FishCo?x=1").body, answer.body);
    let all = bazaar.client.get("/stocks");
    let expected = json!([
        { "name": "BoarCo", "price": 2.5, "quantity": 7 },
        { "name": "FishCo", "price": 15.99, "quantity": 100 },
    ]);
    assert_eq!((all.status, &all.body["data"]), (200, &expected));
    for path in [
        "/stocks/Nobody",
        "/stocks/fishco",
        "/stocks/Fish%2FCo",
        &format!("/stocks/{}", "x".repeat(1_500)),
    ] {
        let answer = bazaar.client.get(path);
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.message().contains("there is no stock"), "{answer:?}");
    }
    let bad = bazaar.client.get("/stocks/%ff");
    assert_eq!(bad.status, 400);
    assert!(bad.message().contains("UTF-8"));
}

/// An order is answered with its number, and read back by it; each refusal has its status and says
/// why.
#[test]
fn orders() {
    let bazaar = Bazaar::ready();
    let answer = bazaar.client.buy("FishCo", 30);
    assert_eq!(
        (answer.status, &answer.body),
        (200, &json!({ "data": { "transaction_number": 0 } }))
    );
    let answer = bazaar.client.post("/orders", &order("sell", "BoarCo", 1));
    assert_eq!(answer.body, json!({ "data": { "transaction_number": 1 } }));
    let read = bazaar.client.get("/orders/1");
    let expected =
        json!({ "data": { "number": 1, "name": "BoarCo", "type": "sell", "quantity": 1 } });
    assert_eq!((read.status, read.body), (200, expected));

    let few = bazaar.client.buy("FishCo", 71);
    assert_eq!(few.status, 409);
    assert!(
        few.message()
            .contains("insufficient quantity: fewer than 71 of 'FishCo' are left")
    );
    let unknown = bazaar.client.buy("Nobody", 1);
    assert_eq!(unknown.status, 404);
    assert!(unknown.message().contains("there is no stock 'Nobody'"));
    for path in [
        "/orders/2",
        "/orders/18446744073709551615",
        "/orders/99999999999999999999",
    ] {
        let answer = bazaar.client.get(path);
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.message().contains("there is no order"));
    }
    for path in [
        "/orders/x",
        "/orders/-1",
        "/orders/1.0",
        "/orders/+1",
        "/orders/%31",
        "/orders/1%20",
    ] {
        let answer = bazaar.client.get(path);
        assert_eq!(answer.status, 400, "{path}");
        assert!(answer.message().contains("is not the number of an order"));
    }
}

/// The same key with the same body gets the same answer and trades once, also when it was refused;
/// another body is 422.
#[test]
fn idempotency_keys() {
    let bazaar = Bazaar::ready();
    let with_key = |key: &str, body: &str| {
        bazaar
            .client
            .send("POST", "/orders", &[("Idempotency-Key", key)], body)
    };
    let first = with_key("k-1", &order("buy", "FishCo", 30));
    // Another spelling of the same body, too: parsed bodies are compared.
    let again = with_key(
        "k-1",
        r#"{ "type": "buy", "quantity": 30, "name": "F\u0069shCo" }"#,
    );
    assert_eq!((first.status, &first.body), (200, &again.body));
    assert_eq!(bazaar.catalog.with(|state| state.journal.len()), 1);
    let other = with_key("k-1", &order("buy", "FishCo", 31));
    assert_eq!(other.status, 422);
    assert!(other.message().contains("Idempotency-Key was used before"));
    assert_eq!(with_key("k-2", &order("buy", "BoarCo", 8)).status, 409);
    bazaar.client.post("/orders", &order("sell", "BoarCo", 5));
    assert_eq!(
        with_key("k-2", &order("buy", "BoarCo", 8)).status,
        409,
        "refused once, refused for ever"
    );
    for headers in [
        &[("Idempotency-Key", "a b")][..],
        &[("Idempotency-Key", "a"), ("idempotency-key", "b")],
    ] {
        let answer = bazaar
            .client
            .send("POST", "/orders", headers, &order("buy", "FishCo", 1));
        assert_eq!(answer.status, 400);
        assert!(answer.message().contains("Idempotency-Key"));
    }
}

/// A wrong body is 400 with the field and the remedy, and reaches nobody.
#[test]
fn bad_orders() {
    let bazaar = Bazaar::ready();
    let body =
        |quantity: &str| format!(r#"{{"name":"FishCo","quantity":{quantity},"type":"buy"}}"#);
    for quantity in ["12.0", "\"12\"", "0", "-1", "1e3", "1000001", "null"] {
        let answer = bazaar.client.post("/orders", &body(quantity));
        assert_eq!(answer.status, 400, "{quantity}");
        let message = answer.message();
        assert!(
            message.contains("'quantity'") && message.contains("whole number"),
            "{message}"
        );
    }
    for (body, words) in [
        ("", "empty"),
        ("{]", "not a JSON object"),
        (r#"{"name":"FishCo","type":"buy"}"#, "'quantity' is missing"),
        (r#"{"name":"FishCo","quantity":1}"#, "'type' is missing"),
        (r#"{"quantity":1,"type":"buy"}"#, "'name' is missing"),
        (
            r#"{"name":"FishCo","quantity":1,"type":"hold"}"#,
            "'type' is \"hold\"",
        ),
        (
            r#"{"name":"FishCo","quantity":1,"type":"buy","x":1}"#,
            "no field 'x'",
        ),
    ] {
        let answer = bazaar.client.post("/orders", body);
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.message().contains(words), "{answer:?}");
    }
    assert!(bazaar.replica(3).batches().is_empty());
    // The content type does not matter.
    let headers = [("Content-Type", "text/plain")];
    assert_eq!(
        bazaar
            .client
            .send("POST", "/orders", &headers, &order("buy", "FishCo", 1))
            .status,
        200
    );
}

/// Unknown paths, wrong methods, HEAD and OPTIONS are answered by the book, in the envelope.
#[test]
fn paths_and_methods() {
    let bazaar = Bazaar::ready();
    for path in [
        "/nothing",
        "/stocks//",
        "/stocks/a/b",
        "/orders//",
        "/orders/1/x",
        "/status/x",
        "//stocks",
    ] {
        let answer = bazaar.client.get(path);
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.message().contains("there is nothing at"));
        assert_eq!(bazaar.client.send("OPTIONS", path, &[], "").status, 404);
    }
    for (method, path, allow) in [
        ("DELETE", "/stocks", "GET, HEAD, OPTIONS"),
        ("POST", "/stocks/FishCo", "GET, HEAD, OPTIONS"),
        ("PUT", "/orders/0", "GET, HEAD, OPTIONS"),
        ("POST", "/status", "GET, HEAD, OPTIONS"),
        ("DELETE", "/orders", "GET, HEAD, POST, OPTIONS"),
        ("PATCH", "/stocks", "GET, HEAD, OPTIONS"),
    ] {
        let answer = bazaar.client.send(method, path, &[], "");
        assert_eq!(
            (answer.status, answer.header("allow")),
            (405, Some(allow)),
            "{method} {path}"
        );
        assert!(answer.message().contains("does not take"));
        let options = bazaar.client.send("OPTIONS", path, &[], "");
        assert_eq!(
            (options.status, options.header("allow"), &*options.text),
            (204, Some(allow), "")
        );
    }
    assert_eq!(bazaar.client.send("OPTIONS", "*", &[], "").status, 204);
    for path in [
        "/stocks/FishCo",
        "/stocks",
        "/status",
        "/livez",
        "/stocks/Nobody",
    ] {
        let (get, head) = (
            bazaar.client.get(path),
            bazaar.client.send("HEAD", path, &[], ""),
        );
        assert_eq!((head.status, &*head.text), (get.status, ""), "{path}");
        if path != "/status" {
            assert_eq!(
                head.header("content-length"),
                Some(&*get.text.len().to_string())
            );
        }
    }
    let order = order("buy", "FishCo", 1);
    let largest = order.clone() + &" ".repeat(64 * 1024 - order.len());
    assert_eq!(
        bazaar.client.post("/orders", &largest).status,
        200,
        "up to the limit a body is read"
    );
}

/// The trace id comes back, reaches the leader, and is made where it is absent.
#[test]
fn trace_ids() {
    let bazaar = Bazaar::ready();
    let given = bazaar.client.send(
        "POST",
        "/orders",
        &[("X-Request-Id", "my-7")],
        &order("buy", "FishCo", 1),
    );
    assert_eq!(given.header("x-request-id"), Some("my-7"));
    assert_eq!(bazaar.replica(3).batches()[0].orders[0].trace, "my-7");
    assert_eq!(
        bazaar
            .client
            .get("/nothing")
            .header("x-request-id")
            .map(str::len),
        Some(16)
    );
}

/// The status shows leader, term, each replica's state, catalog and cache; liveness and readiness
/// follow.
#[test]
fn status_and_probes() {
    let mut bazaar = Bazaar::ready();
    assert_eq!(bazaar.client.get("/livez").body, json!({ "data": "alive" }));
    assert_eq!(
        bazaar.client.get("/readyz").body,
        json!({ "data": "ready" })
    );
    bazaar
        .replica(1)
        .with(|state| (state.claiming, state.last) = (Some(9), Some(41)));
    bazaar.client.get("/stocks/FishCo");
    bazaar.client.get("/stocks/FishCo");
    let replicas = json!([
        { "id": 1, "state": "claiming", "last": 41 },
        { "id": 2, "state": "follower", "last": null },
        // A follower's order came from the leader, also when the leader was asked before.
        { "id": 3, "state": "leader", "last": 41 },
    ]);
    wait_for("the replicas are seen", || {
        without_ages(bazaar.status())["replicas"] == replicas
    });
    let status = without_ages(bazaar.status());
    assert_eq!(
        (&status["ready"], &status["reasons"]),
        (&json!(true), &json!([]))
    );
    assert_eq!((&status["leader"], &status["term"]), (&json!(3), &json!(1)));
    assert_eq!(
        status["catalog"],
        json!({ "state": "serving", "write_fault": null })
    );
    let cache = json!({
        "enabled": true, "leased": true, "entries": 1, "capacity": 1024, "hits": 1, "misses": 1
    });
    assert_eq!(status["cache"], cache);

    bazaar.replica(1).with(|state| state.claiming = None);
    bazaar
        .replicas
        .iter_mut()
        .for_each(support::replica::FakeReplica::kill);
    bazaar.catalog.kill();
    wait_for("all are seen to be gone", || {
        let status = bazaar.status();
        let down = |n: usize| {
            status["replicas"][n]
                == json!({ "id": n + 1, "state": "down", "last": null, "age_ms": null })
        };
        status["leader"].is_null() && status["catalog"]["state"].is_null() && (0..3).all(down)
    });
    let answer = bazaar.client.get("/readyz");
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (503, Some("1"))
    );
    let message = answer.message();
    assert!(
        message.contains("the catalog does not answer; no leader"),
        "{message}"
    );
    assert_eq!(bazaar.client.get("/livez").status, 200);
}

/// A status whose ages, which differ from run to run, were checked and taken out.
fn without_ages(mut status: Value) -> Value {
    for place in ["/replicas/0", "/replicas/1", "/replicas/2", "/catalog"] {
        let part = status.pointer_mut(place).and_then(Value::as_object_mut);
        let age = part.and_then(|part| part.remove("age_ms")).expect("an age");
        assert!(age.as_u64().is_none_or(|ms| ms <= 200), "{place}: {age}");
    }
    status
}

/// While the catalog can write nothing every order fails: readiness, the status and the metric say
/// so with the reason, liveness does not, and all of them come back.
#[test]
fn not_ready_while_the_catalog_cannot_write() {
    let bazaar = Bazaar::ready();
    assert_eq!(bazaar.metric("bazaar_ready"), 1.0);
    let set = |fault: Option<&str>| {
        bazaar
            .catalog
            .with(|state| state.write_fault = fault.map(Into::into));
    };
    set(Some("disk full"));
    wait_for("it is not ready", || {
        bazaar.client.get("/readyz").status == 503
    });
    let reason = "the catalog cannot write its file: disk full";
    assert!(bazaar.client.get("/readyz").message().contains(reason));
    let status = bazaar.status();
    assert_eq!(
        (&status["ready"], &status["reasons"]),
        (&json!(false), &json!([reason]))
    );
    assert_eq!(status["catalog"]["write_fault"], "disk full");
    assert_eq!(bazaar.metric("bazaar_ready"), 0.0);
    assert_eq!(bazaar.client.get("/livez").status, 200);
    set(None);
    wait_for("it is ready again", || {
        bazaar.client.get("/readyz").status == 200
    });
    assert_eq!(bazaar.metric("bazaar_ready"), 1.0);
}

/// An order that failed shows at once, before any heartbeat shows why, and until one is accepted.
#[test]
fn a_failed_order_shows_at_once() {
    let bazaar = Bazaar::ready();
    let refusal = Unavailable {
        message: "disk full".into(),
        outcome_unknown: true,
        retry: false,
    };
    let set = |manner: Manner| bazaar.replica(3).with(|state| state.manner = manner);
    set(Manner::Refuse(refusal));
    assert_eq!(bazaar.client.buy("FishCo", 1).status, 503);
    let ready = bazaar.client.get("/readyz");
    assert_eq!(ready.status, 503);
    let message = ready.message();
    assert!(
        message.contains("the newest order failed: disk full"),
        "{message}"
    );
    set(Manner::Trade);
    assert_eq!(bazaar.client.buy("FishCo", 1).status, 200);
    assert_eq!(bazaar.client.get("/readyz").status, 200);
}

/// Each order counts once, by what became of it; all three counters are there before the first.
#[test]
fn orders_are_counted_by_outcome() {
    let mut bazaar = Bazaar::ready();
    let counted = |bazaar: &Bazaar| {
        ["accepted", "refused", "failed"]
            .map(|outcome| bazaar.metric(&format!("bazaar_orders_total{{outcome=\"{outcome}\"}}")))
    };
    assert_eq!(counted(&bazaar), [0.0, 0.0, 0.0]);
    assert_eq!(bazaar.client.buy("FishCo", 30).status, 200);
    assert_eq!(bazaar.client.buy("FishCo", 100).status, 409);
    assert_eq!(bazaar.client.buy("Nobody", 1).status, 404);
    assert_eq!(bazaar.client.buy("FishCo", 0).status, 400);
    assert_eq!(counted(&bazaar), [1.0, 2.0, 0.0]);
    bazaar
        .replicas
        .iter_mut()
        .for_each(support::replica::FakeReplica::kill);
    assert_eq!(bazaar.client.buy("FishCo", 1).status, 503);
    assert_eq!(bazaar.client.get("/readyz").status, 503);
    assert_eq!(counted(&bazaar), [1.0, 2.0, 1.0]);
}

/// The internal listener answers invalidations, liveness and metrics, and refuses the rest.
#[test]
fn internal_listener() {
    let bazaar = Bazaar::ready();
    bazaar.client.get("/stocks/FishCo");
    bazaar.client.get("/stocks/FishCo");
    bazaar.client.buy("FishCo", 1);
    let internal = bazaar.internal();
    assert_eq!(internal.get("/livez").body, json!({ "data": "alive" }));
    for (name, value) in [
        ("bazaar_cache_hits_total", 1.0),
        ("bazaar_cache_misses_total", 1.0),
        ("bazaar_cache_fills_total", 1.0),
        ("bazaar_leader_term", 1.0),
        ("bazaar_leader_changes_total", 1.0),
        ("bazaar_queue_depth{queue=\"orders\"}", 0.0),
        ("bazaar_order_batch_size_count", 1.0),
        ("bazaar_order_stage_seconds_count{stage=\"forward\"}", 1.0),
    ] {
        assert_eq!(bazaar.metric(name), value, "{name}");
    }
    assert_eq!(internal.get("/stocks").status, 404);
    let answer = internal.get("/invalidate");
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
    assert_eq!(internal.post("/invalidate", "{}").status, 400);
}

/// With a token, internal calls need it; the public API and the open paths do not.
#[test]
fn token() {
    let bazaar = Bazaar::with(|_, _| {}, &[("BAZAAR_TOKEN", "longenough")]);
    bazaar.wait_ready();
    let push = serde_json::to_string(&bazaar.catalog.push(&["FishCo"])).expect("serialises");
    let internal = bazaar.internal();
    assert_eq!(internal.post("/invalidate", &push).status, 401);
    let headers = [("Authorization", "Bearer longenough")];
    assert_eq!(
        internal.send("POST", "/invalidate", &headers, &push).status,
        200
    );
    assert_eq!(
        (
            internal.get("/metrics").status,
            internal.get("/livez").status
        ),
        (200, 200)
    );
}

/// The same API behind tiny_http.
#[test]
fn on_tiny_http() {
    let bazaar = Bazaar::with(|_, _| {}, &[("FRONTEND_SERVER", "tiny_http")]);
    bazaar.wait_ready();
    assert_eq!(bazaar.client.buy("FishCo", 30).status, 200);
    for _ in 0..2 {
        assert_eq!(
            bazaar.client.get("/stocks/FishCo").body["data"]["quantity"],
            70
        );
    }
    assert_eq!(bazaar.client.get("/orders/0").status, 200);
    assert_eq!(bazaar.client.get("/nothing").status, 404);
    assert_eq!(bazaar.client.send("DELETE", "/stocks", &[], "").status, 405);
    assert_eq!(bazaar.metric("bazaar_cache_hits_total"), 1.0);
}
