//! The page in a real browser. Skipped, with a line that says so, where none is installed.

use cluster::service::Service;
use cluster::wait;
use common::wire::order::Side;
use common::wire::public::NewOrder;
use serde_json::{Value, json};
use std::path::PathBuf;
use tests::browser::{Browser, ENTER, TAB};
use tests::harness::{Bazaar, SOON};

const FRONTEND: Service = Service::Frontend(1);

/// Where pictures of the page are kept.
fn picture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join("page")
        .join(name)
}

/// The page of this bazaar, live.
fn open(browser: &Browser, bazaar: &Bazaar) {
    browser.open(&format!("{}/", bazaar.cluster.url(0)));
    browser.wait_part("#connection", "Live");
    browser.wait_part("[data-stock=FishCo] .left", "100");
    browser.wait_part("#leader", "Replica 3");
}

/// Trades by hand, and notes the order that the page says was made.
fn trade(browser: &Browser, bazaar: &Bazaar, name: &str, side: Side, quantity: u64) -> u64 {
    browser.fill("#stock", name);
    browser.fill("#quantity", &quantity.to_string());
    browser.click(if side == Side::Buy { "#buy" } else { "#sell" });
    note(browser, bazaar, name, side, quantity)
}

fn note(browser: &Browser, bazaar: &Bazaar, name: &str, side: Side, quantity: u64) -> u64 {
    let what = format!(
        "{} {quantity} {name}: done, order number ",
        if side == Side::Buy { "Buy" } else { "Sell" }
    );
    let text = browser.wait_part("#order-result", &what);
    let number = text[what.len()..]
        .trim_end_matches('.')
        .parse()
        .expect("a number");
    bazaar.recorder.note(
        number,
        &NewOrder {
            name: name.into(),
            quantity,
            side,
        },
        None,
    );
    number
}

/// The texts of all elements of a selector.
fn texts(browser: &Browser, selector: &str) -> Vec<String> {
    let all = browser.script(&format!(
        "return [...document.querySelectorAll({})].map((element) => element.textContent)",
        Value::from(selector)
    ));
    serde_json::from_value(all).expect("texts")
}

/// A user loads the page, buys, sees refusals in words, finds an order, and sees own orders again
/// after a reload.
#[test]
fn trading() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let bazaar = Bazaar::start();
    open(&browser, &bazaar);
    assert_eq!(texts(&browser, "#stock-rows tr").len(), 14);

    assert_eq!(trade(&browser, &bazaar, "FishCo", Side::Buy, 5), 0);
    browser.wait_part("[data-stock=FishCo] .left", "95");
    browser.wait_part("[data-stock=FishCo] .change", "▼ −5");
    assert_eq!(trade(&browser, &bazaar, "FishCo", Side::Sell, 7), 1);
    browser.wait_part("[data-stock=FishCo] .left", "102");
    browser.wait_part("[data-stock=FishCo] .change", "▲ +7");

    // Somebody else's trade shows, too.
    bazaar.trade("BoarCo", Side::Buy, 3).expect("trades");
    browser.wait_part("[data-stock=BoarCo] .left", "97");

    for (stock, quantity, words) in [
        (
            "FishCo",
            "103",
            "Buy 103 FishCo: refused. Insufficient quantity",
        ),
        (
            "Nobody",
            "1",
            "Buy 1 Nobody: refused. There is no stock 'Nobody'",
        ),
        (
            "FishCo",
            "0",
            "Write a whole number from 1 to 1,000,000 as quantity.",
        ),
        (
            "FishCo",
            "1.5",
            "Write a whole number from 1 to 1,000,000 as quantity.",
        ),
    ] {
        browser.fill("#stock", stock);
        browser.fill("#quantity", quantity);
        browser.click("#buy");
        browser.wait_part("#order-result", words);
    }
    assert_eq!(
        browser.script("return document.activeElement.id"),
        "quantity",
        "the wrong field has the focus"
    );

    browser.fill("#find", &format!("0{ENTER}"));
    browser.wait_part("#find-result", "Order 0: Buy 5 FishCo.");
    browser.fill("#find", &format!("999{ENTER}"));
    browser.wait_part("#find-result", "There is no order 999");
    browser.fill("#find", &format!("x{ENTER}"));
    browser.wait_part("#find-result", "Write the number of an order");

    let own = texts(&browser, "#own-orders li");
    assert_eq!(own.len(), 4, "{own:?}");
    assert!(
        own[3].contains("Buy 5 FishCo") && own[3].ends_with("No 0"),
        "{own:?}"
    );
    browser.reload();
    browser.wait_part("#connection", "Live");
    assert_eq!(
        texts(&browser, "#own-orders li"),
        own,
        "kept by the browser"
    );

    // A browser notes each 4xx; anything else would be a fault of the page, or refused by its
    // policy.
    let complaints = browser.complaints();
    let expected = |line: &&String| {
        ["404 (Not Found)", "409 (Conflict)"]
            .iter()
            .any(|status| line.contains(status))
    };
    assert_eq!(
        complaints
            .iter()
            .filter(|line| !expected(line))
            .collect::<Vec<_>>(),
        Vec::<&String>::new()
    );
    bazaar.close();
}

/// The row of a replica shows, after its next probe, that it leads.
fn wait_leads(browser: &Browser, replica: u8) {
    browser.wait_part(&format!("[data-replica='{replica}'] .badge"), "serving");
    assert_eq!(
        texts(browser, &format!("[data-replica='{replica}'] td"))[1..3],
        ["Leader", "serving"]
    );
}

/// The page shows that the leader was killed and who leads now, as a timeline that grows; and that
/// the bazaar itself is away, and back. An order that got no answer meanwhile is called unknown,
/// and asked for again it trades once.
#[test]
fn failures() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let mut bazaar = Bazaar::start();
    open(&browser, &bazaar);
    browser.wait_part("#timeline", "Replica 3 leads in term 1");
    wait_leads(&browser, 3);

    bazaar.cluster.kill(Service::Order(3)).expect("killed");
    browser.wait_part("#leader", "Replica 2");
    browser.wait_part("#term", "2");
    browser.wait_part("#timeline", "Replica 2 leads in term 2, after replica 3");
    browser.wait_part("#timeline", "Replica 3 does not answer");
    browser.wait_part("[data-replica='3'] .badge", "down");
    wait_leads(&browser, 2);
    trade(&browser, &bazaar, "FishCo", Side::Buy, 1);
    bazaar
        .cluster
        .restart(Service::Order(3))
        .expect("restarted");
    browser.wait_part("[data-replica='3'] .badge", "in sync");
    browser.wait_text("[data-replica='3'] td:last-child", |lag| lag == "0");

    bazaar.cluster.kill(FRONTEND).expect("killed");
    browser.wait_part("#connection", "Connection lost");
    browser.wait_part("#stale:not([hidden])", "No connection to the bazaar");
    browser.fill("#stock", "BoarCo");
    browser.fill("#quantity", "2");
    browser.click("#buy");
    browser.wait_part("#order-result", "Buy 2 BoarCo: outcome unknown");
    browser.picture(&picture("lost.png"));
    bazaar.cluster.restart(FRONTEND).expect("restarted");
    browser.wait_part("#connection", "Live");
    browser.wait_part("#stale[hidden]", "");
    browser.click("#own-orders .again");
    note(&browser, &bazaar, "BoarCo", Side::Buy, 2);
    browser.wait_part("[data-stock=BoarCo] .left", "98");
    bazaar.close();
}

/// Where the server cannot stream, the page polls, and shows the same.
#[test]
fn polling() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let bazaar = Bazaar::start_with(1, |spec| {
        spec.set("FRONTEND_SERVER", "tiny_http");
    });
    open(&browser, &bazaar);
    browser.wait_text("#connection", |text| text == "Live, by polling");
    trade(&browser, &bazaar, "FishCo", Side::Buy, 5);
    browser.wait_part("[data-stock=FishCo] .left", "95");
    bazaar.close();
}

/// Text against what lies behind it, as WCAG 2.2 measures it (1.4.3): the least contrast of the
/// page, and where.
const CONTRAST: &str = "
    const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
    const rgba = (color) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = color;
        canvas.fillRect(0, 0, 1, 1);
        const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
        return [r, g, b, a / 255];
    };
    const light = ([r, g, b]) => {
        const part = (byte) => {
            const c = byte / 255;
            return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
        };
        return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
    };
    const over = (front, back) => back.map((c, i) => front[i] * front[3] + c * (1 - front[3]));
    const behind = (element) => {
        if (!element) return [255, 255, 255];
        // A row that flashes is half transparent.
        const color = rgba(getComputedStyle(element).backgroundColor);
        return color[3] === 1 ? color.slice(0, 3) : over(color, behind(element.parentElement));
    };
    const found = [];
    for (const element of document.querySelectorAll('body *')) {
        const own = [...element.childNodes]
            .some((node) => node.nodeType === 3 && node.data.trim() !== '');
        const shown = element.getClientRects().length > 0;
        if (!(own || element.tagName === 'INPUT') || !shown) continue;
        const pair = [light(rgba(getComputedStyle(element).color)), light(behind(element))]
            .sort((a, b) => b - a);
        found.push([(pair[0] + 0.05) / (pair[1] + 0.05), element.outerHTML.slice(0, 120)]);
    }
    return { count: found.length, least: found.sort((a, b) => a[0] - b[0])[0] };";

/// In light and dark, wide and on a phone: every text has a contrast of at least 4.5 : 1 and
/// nothing is wider than the screen. Every field and button has a name for screen readers, regions
/// and live parts have their roles, and all is reached and done by keyboard. Pictures of each are
/// kept.
#[test]
fn for_everybody() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let mut bazaar = Bazaar::start();
    open(&browser, &bazaar);
    trade(&browser, &bazaar, "GameStart", Side::Buy, 12);
    browser.fill("#find", &format!("0{ENTER}"));
    browser.wait_part("#find-result", "Order 0: Buy 12 GameStart.");
    bazaar.trade_while(4, |bazaar, control| {
        tests::harness::wait_steps(control, 300);
        bazaar.cluster.kill(Service::Order(3)).expect("killed");
        browser.wait_part("#timeline", "Replica 2 leads in term 2");
        bazaar
            .cluster
            .restart(Service::Order(3))
            .expect("restarted");
        browser.wait_part("[data-replica='3'] .badge", "in sync");
        bazaar.cluster.kill(Service::Order(1)).expect("killed");
        browser.wait_part("#timeline", "Replica 1 does not answer");
        browser.wait_text("#charts figure:nth-child(4) svg", |_| {
            charts_drawn(&browser)
        });
        trade(&browser, bazaar, "FishCo", Side::Sell, 900);
        browser.fill("#quantity", "1000000");
        browser.click("#buy");
        browser.wait_part(
            "#order-result",
            "Buy 1,000,000 FishCo: refused. Insufficient",
        );
        for (name, width, height, phone, dark) in [
            ("light.png", 1_280, 900, false, false),
            ("dark.png", 1_280, 900, false, true),
            ("phone.png", 390, 844, true, false),
            ("phone-dark.png", 390, 844, true, true),
            ("narrow.png", 320, 640, false, false),
            ("narrow-dark.png", 320, 640, false, true),
        ] {
            browser.look(width, height, phone, dark);
            let calm = wait::until(SOON, || {
                let least = browser.script(CONTRAST);
                (least["least"][0].as_f64()? >= 4.5).then_some(least)
            });
            let least = calm.unwrap_or_else(|| panic!("{name}: {}", browser.script(CONTRAST)));
            assert!(
                least["count"].as_u64() > Some(80),
                "{name}: too few texts were looked at: {least}"
            );
            println!("{name}: the least contrast is {least}");
            let wider = browser.script(
                "const all = document.documentElement; return all.scrollWidth - all.clientWidth",
            );
            assert_eq!(wider, 0, "{name} is wider than the screen");
            if let Some(found) = browser.axe() {
                assert_eq!(found, Vec::<String>::new(), "{name}");
            }
            browser.picture(&picture(name));
        }
    });
    browser.look(1_280, 900, false, false);

    for (selector, role, label) in [
        ("#stock", "combobox", "Stock"),
        ("#quantity", "spinbutton", "Quantity"),
        ("#buy", "button", "Buy"),
        ("#sell", "button", "Sell"),
        ("#find", "textbox", "Find by number"),
        ("#find-button", "button", "Find"),
        (
            "[data-stock=FishCo] button",
            "button",
            "FishCo: choose for trading",
        ),
        ("#trade", "region", "Trade"),
        ("#cluster", "region", "Cluster"),
        ("#timeline-log", "log", "Timeline"),
        ("#timeline", "list", ""),
        ("main", "main", ""),
    ] {
        assert_eq!(
            (
                browser.role(selector).as_str(),
                browser.label(selector).as_str()
            ),
            (role, label),
            "{selector}"
        );
    }
    for live in ["#connection", "#order-result", "#find-result"] {
        assert_eq!(browser.role(live), "status", "{live}");
    }
    let unnamed = browser.script(
        "return [...document.querySelectorAll('button, input')].filter((e) => \
         !(e.labels?.length || e.getAttribute('aria-label') || e.textContent.trim())) \
         .map((e) => e.outerHTML)",
    );
    assert_eq!(unnamed, json!([]));
    assert!(
        browser
            .label("#charts figure:nth-child(4) svg")
            .starts_with("Orders, the last two minutes; now p50")
    );
    by_keyboard(&browser, &bazaar);
    bazaar.close();
}

/// Whether every line of the charts has something to show.
fn charts_drawn(browser: &Browser) -> bool {
    let short = "return [...document.querySelectorAll('.series')] \
                 .filter((p) => (p.getAttribute('d') ?? '').length < 60).length";
    browser.script(short) == 0
}

/// Buys without a mouse: along the tab order from the top of the page.
fn by_keyboard(browser: &Browser, bazaar: &Bazaar) {
    browser.reload();
    browser.wait_part("#connection", "Live");
    browser.wait_part("[data-stock=AnvilWorks] button", "AnvilWorks");
    let focus =
        || browser.script("return document.activeElement.id || document.activeElement.textContent");
    browser.press(TAB);
    assert_eq!(focus(), "Skip to trading");
    browser.press(ENTER);
    for wanted in ["stock", "quantity", "buy"] {
        browser.press(TAB);
        assert_eq!(focus(), wanted);
    }
    browser.press(ENTER);
    // The form offers the first stock by name, and one of it.
    note(browser, bazaar, "AnvilWorks", Side::Buy, 1);
}
