//! The page in a real browser beside others: many tabs, pages of other sites, small screens.
//! Skipped, with a line that says so, where no browser is installed.

use cluster::service::Service;
use cluster::wait;
use common::wire::order::Side;
use common::wire::public::NewOrder;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use tests::browser::{Browser, TAB};
use tests::harness::{Bazaar, SOON};

fn page(bazaar: &Bazaar) -> String {
    format!("{}/", bazaar.cluster.url(0))
}

/// Opens the page and waits until it is live and shows the stocks.
fn open(browser: &Browser, bazaar: &Bazaar) {
    browser.open(&page(bazaar));
    browser.wait_part("#connection", "Live");
    browser.wait_part("[data-stock=FishCo] .left", "1");
}

/// Sells one FishCo on the page, and waits for the answer.
fn sell(browser: &Browser, bazaar: &Bazaar) {
    browser.fill("#stock", "FishCo");
    browser.fill("#quantity", "1");
    browser.click("#sell");
    let text = browser.wait_part("#order-result", "Sell 1 FishCo: done, order number ");
    let number = text.trim_end_matches('.').rsplit(' ').next();
    let order = NewOrder {
        name: "FishCo".into(),
        quantity: 1,
        side: Side::Sell,
    };
    let number = number.and_then(|n| n.parse().ok()).expect("a number");
    bazaar.recorder.note(number, &order, None);
}

/// How many connections follow the feed becomes this.
fn wait_viewers(bazaar: &Bazaar, wanted: u64) {
    let front = bazaar.cluster.internal(Service::Frontend(1));
    let mut last = None;
    let reached = wait::until(SOON, || {
        let text = front.get("/metrics").expect("metrics").body;
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix("bazaar_edge_subscribers "));
        last = value.and_then(|value| value.parse::<u64>().ok());
        (last == Some(wanted)).then_some(())
    });
    assert!(reached.is_some(), "{last:?} feeds are open, not {wanted}");
}

/// Eight tabs have one feed together; the page loads and trades in each, and shows what others did.
/// A hidden tab watches nothing: while all are hidden there is no feed, and one that is visible
/// again shows what happened meanwhile.
#[test]
fn eight_tabs_share_one_feed_and_each_trades() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let bazaar = Bazaar::start();
    let mut tabs = vec![browser.tab()];
    open(&browser, &bazaar);
    for kind in ["tab", "tab", "tab", "window", "window", "tab", "window"] {
        tabs.push(browser.another(kind));
        open(&browser, &bazaar);
    }
    wait_viewers(&bazaar, 1);
    for (i, tab) in tabs.iter().enumerate().rev() {
        browser.go_to(tab);
        browser.wait_part("#connection", "Live");
        sell(&browser, &bazaar);
        browser.wait_text("[data-stock=FishCo] .left", |text| {
            text == format!("{}", 108 - i)
        });
    }
    wait_viewers(&bazaar, 1);
    // Tabs share the list of orders: each has those of all, and none undoes another's.
    for tab in [&tabs[0], &tabs[7]] {
        browser.go_to(tab);
        browser.wait_part("#own-orders li:nth-child(8)", "Sell 1 FishCo");
    }
    for tab in &tabs {
        browser.go_to(tab);
        browser.wait_text("[data-stock=FishCo] .left", |text| text == "108");
    }
    for tab in &tabs[1..] {
        browser.go_to(tab);
        browser.open("about:blank");
    }
    browser.go_to(&tabs[0]);
    wait_viewers(&bazaar, 1);
    browser.hide();
    wait_viewers(&bazaar, 0);
    bazaar.trade("FishCo", Side::Buy, 8).expect("trades");
    browser.show();
    browser.wait_text("[data-stock=FishCo] .left", |text| text == "100");
    wait_viewers(&bazaar, 1);
    assert_eq!(browser.complaints(), Vec::<String>::new());
    bazaar.close();
}

/// A browser without shared workers polls in the page: no connection is kept by it.
#[test]
fn without_shared_workers_the_page_polls() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let bazaar = Bazaar::start();
    browser.before_each_page("delete globalThis.SharedWorker");
    open(&browser, &bazaar);
    browser.wait_text("#connection", |text| text == "Live, by polling");
    sell(&browser, &bazaar);
    browser.wait_part("[data-stock=FishCo] .left", "101");
    wait_viewers(&bazaar, 0);
    bazaar.close();
}

/// A page of another origin, served until it is dropped with the process.
fn foreign_site(html: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let serve = move |stream: TcpStream| -> std::io::Result<()> {
        let mut lines = BufReader::new(&stream).lines();
        while lines
            .next()
            .transpose()?
            .is_some_and(|line| !line.is_empty())
        {}
        write!(
            &stream,
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{html}",
            html.len()
        )
    };
    thread::spawn(move || {
        // A browser opens connections that it does not use.
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            thread::spawn(move || serve(stream));
        }
    });
    address
}

/// A page on another port, and so of another origin, sends orders in every way in which a browser
/// lets it without asking: none of them trades.
#[test]
fn a_page_on_another_port_fails_to_trade() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let bazaar = Bazaar::start();
    let orders = format!("{}/orders", bazaar.cluster.url(0));
    let order = r#"{"name":"FishCo","quantity":1,"type":"sell"}"#;
    let site = foreign_site(format!(
        "<!doctype html><title>waiting</title><iframe name=into></iframe>\
         <form method=post target=into enctype=text/plain action='{orders}'>\
         <input name='{{\"name\":\"FishCo\",\"quantity\":1,\"type\":\"sell\",\"x' value='\":1}}'>\
         </form>\
         <script>const send = (type) => fetch('{orders}', \
         {{ method: 'POST', mode: 'no-cors', body: new Blob(['{order}'], {{ type }}) }});\
         document.querySelector('iframe').onload = () => \
         Promise.all([send(''), send('text/plain')]) \
         .then(() => document.title = 'sent', (e) => document.title = String(e));\
         document.forms[0].submit(); navigator.sendBeacon('{orders}', '{order}');</script>"
    ));
    for host in ["127.0.0.1", "localhost"] {
        browser.open(&format!("http://{host}:{}/", site.port()));
        browser.wait_text("title", |title| title == "sent");
    }
    let refused = "bazaar_http_requests_total{route=\"/orders\",status=\"403\"}";
    let text = || {
        let front = bazaar.cluster.internal(Service::Frontend(1));
        front.get("/metrics").expect("metrics").body
    };
    // Two of fetch, a form, a beacon, from each of two origins.
    let all = wait::until(SOON, || {
        text().contains(&format!("{refused} 8\n")).then_some(())
    });
    assert!(all.is_some(), "{}", text());
    assert_eq!(bazaar.quantity("FishCo"), 100);
    bazaar.close();
}

/// Arriving data finds its room reserved: on narrow and wide screens the layout shifts by less than
/// 0.1, as the Web Vitals count it. Nothing is wider than the screen, down to the 320 px of WCAG
/// 2.2 (1.4.10), and axe-core finds nothing.
#[test]
fn arriving_data_moves_nothing_and_everybody_can_read_it() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let bazaar = Bazaar::start();
    browser.before_each_page(
        "globalThis.shifts = [];
         const named = ({ node }) => node?.outerHTML?.slice(0, 80) ?? String(node);
         new PerformanceObserver((list) => shifts.push(...list.getEntries()
             .map(({ value, sources }) => [value, sources.map(named).join(' | ')])))
             .observe({ type: 'layout-shift', buffered: true });",
    );
    for (width, dark) in [(320, false), (768, false), (1_280, false), (320, true)] {
        browser.look(width, 900, false, dark);
        open(&browser, &bazaar);
        browser.wait_part("#leader", "Replica 3");
        browser.wait_part("#timeline", "Replica 3 leads");
        browser.wait_part("#charts figure:nth-child(1) b", "/s");
        let shifts = browser.script("return shifts");
        let sum: f64 = shifts
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|s| s[0].as_f64())
            .sum();
        println!("{width} px: shifted by {sum:.3}");
        assert!(sum < 0.1, "{width} px: shifted by {sum}: {shifts:#}");
        let wider = browser.script(
            "const room = document.documentElement.clientWidth;
             return [...document.querySelectorAll('body *')]
                 .filter((e) => !e.closest('.scroll, .skip, .unseen'))
                 .filter((e) => e.getBoundingClientRect().right > room + 0.5)
                 .map((e) => e.outerHTML.slice(0, 100))",
        );
        assert_eq!(wider, serde_json::json!([]), "beyond {width} px");
        if let Some(found) = browser.axe() {
            assert_eq!(found, Vec::<String>::new(), "{width} px, dark: {dark}");
        }
    }
    bazaar.close();
}

/// The stock field comes filled; a click, or the tab key, selects it, so that typing replaces it.
#[test]
fn typing_after_a_click_replaces_the_stock() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let bazaar = Bazaar::start();
    open(&browser, &bazaar);
    let value = || browser.script("return document.querySelector('#stock').value");
    assert_eq!(value(), "AnvilWorks");
    browser.click("#stock");
    browser.type_text("FishCo");
    assert_eq!(value(), "FishCo");
    // A second click within the field places the cursor, as everywhere.
    browser.click("#stock");
    browser.type_text("x");
    assert_ne!(value(), "x");
    browser.click("#quantity");
    browser.click("#stock");
    browser.type_text("BoarCo");
    assert_eq!(value(), "BoarCo");
    browser.press(TAB);
    browser.type_text("7");
    let quantity = browser.script("return document.querySelector('#quantity').value");
    assert_eq!(quantity, "7");
    bazaar.close();
}
