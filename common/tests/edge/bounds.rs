//! Memory, connections and descriptors are bounded.

use super::*;

/// A client that asks for much and reads nothing is given up in its time; nobody else notices.
#[test]
fn unread_answers() {
    let server = Server::start(Limits {
        send_timeout: ms(200),
        ..Limits::default()
    });
    let client = server.client();
    client.send(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_for("it is given up", ms(10_000), || {
        server.metric("bazaar_edge_refusals_total{reason=\"unread\"}") == 1.0
    });
    server.assert_serves();
    wait_for("it is gone", ms(5_000), || {
        server.metric("bazaar_edge_connections") == 0.0
    });
}

/// Large bodies that arrive at once share their memory: beyond it one is refused with 503, while
/// small requests are served. A body that was begun keeps its room, which is used again after it.
#[test]
fn large_bodies_share_their_memory() {
    let server = Server::start(Limits {
        body_budget_bytes: PUBLIC_BODY_LIMIT_BYTES,
        ..Limits::default()
    });
    let head = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 60003\r\n\r\n";
    let unfinished = format!("{head}{}", " ".repeat(60_000));
    let mut first = server.client();
    first.send(unfinished.as_bytes());
    wait_for("the body has come but for its end", ms(10_000), || {
        server.metric("bazaar_edge_received_bytes_total") > 60_000.0
    });
    let mut second = server.client();
    let refused = second.answer_to(unfinished.as_bytes()).expect("a refusal");
    assert_eq!(
        (refused.status, refused.field("retry-after")),
        (503, Some("1"))
    );
    second.assert_closed();
    server.assert_serves();
    assert_eq!(first.answer_to(b"end").expect("has its room").status, 200);
    let whole = format!("{unfinished}end");
    let answer = first.answer_to(whole.as_bytes()).expect("room again");
    assert_eq!(answer.status, 200);
    let refusals = "bazaar_edge_refusals_total{reason=\"body_budget\"}";
    assert_eq!(server.metric(refusals), 1.0);
}

/// Answers that are not read hold one budget of our memory and little of the kernel's: one more is
/// refused, honest clients are served meanwhile, and the room is used again.
#[test]
fn unread_answers_hold_little_memory() {
    let server = Server::start(Limits {
        output_budget_bytes: BIG_BYTES + BIG_BYTES / 2,
        ..Limits::default()
    });
    let big = b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut holder = server.client();
    holder.send(big);
    wait_for("the first part is sent", ms(10_000), || {
        server.metric("bazaar_edge_sent_bytes_total") > 0.0
    });
    let refused = server.client().answer_to(big).expect("refused");
    assert_eq!(
        (refused.status, refused.field("retry-after")),
        (503, Some("1"))
    );
    server.assert_serves();
    // The sent bytes lie in the kernel: our half of it and the client's.
    let sent = server.metric("bazaar_edge_sent_bytes_total");
    assert!(
        sent < 1_000_000.0,
        "{sent} bytes for a client that reads nothing"
    );
    assert_eq!(
        holder.answer().expect("its room is kept").body.len(),
        BIG_BYTES
    );
    assert_eq!(holder.answer_to(big).expect("room again").status, 200);
}

/// A large response arrives whole at a client that reads.
#[test]
fn large_answers() {
    let server = Server::start(Limits::default());
    let mut client = server.client();
    for _ in 0..2 {
        client.send(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = client.answer().expect("an answer");
        assert!(answer.body.len() == BIG_BYTES && answer.body.iter().all(|byte| *byte == b'x'));
    }
}

/// Beyond the limit of connections a client is refused, readably; room that becomes free is used
/// again, and idle connections make room for others in time.
#[test]
fn connection_limit() {
    let server = Server::start(Limits {
        connections: 4,
        ..Limits::default()
    });
    let mut held: Vec<Client> = (0..4).map(|_| server.client()).collect();
    for client in &mut held {
        client.send(b"GET /stocks/GameStart HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.answer().expect("within the limit").status, 200);
    }
    let mut fifth = server.client();
    let answer = fifth.answer().expect("refused without a request");
    assert_eq!(
        (answer.status, answer.field("retry-after")),
        (503, Some("1"))
    );
    fifth.assert_closed();
    held.pop();
    wait_for("its place is free", ms(5_000), || {
        server.metric("bazaar_edge_connections") == 3.0
    });
    let mut sixth = server.client();
    sixth.send(b"GET /stocks/GameStart HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(sixth.answer().expect("has a place").status, 200);
    // All four places are taken by idle connections; within a second or so the oldest have to go.
    wait_for("somebody else gets a place", ms(5_000), || {
        let mut client = server.client();
        client
            .answer_to(b"GET /stocks/GameStart HTTP/1.1\r\nHost: a\r\n\r\n")
            .is_ok_and(|answer| answer.status == 200)
    });
}

/// A thousand connections opened at once are served, each of them, while all are open.
#[test]
fn burst() {
    let server = Server::start(Limits::default());
    let mut clients: Vec<Client> = (0..1_000).map(|_| server.client()).collect();
    for client in &clients {
        client.send(b"GET /stocks/GameStart HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    for client in &mut clients {
        assert_eq!(client.answer().expect("each is served").status, 200);
    }
    assert_eq!(server.metric("bazaar_edge_connections"), 1_000.0);
}

/// Name of the variable that makes this test binary a server with few descriptors.
const FEW_DESCRIPTORS: &str = "EDGE_TEST_FEW_DESCRIPTORS";

/// When descriptors run out, accepting rests and goes on: connections that had to wait are served
/// once others have closed.
#[test]
fn descriptors_run_out() {
    if std::env::var_os(FEW_DESCRIPTORS).is_some() {
        return serve_with_few_descriptors();
    }
    let mut child = Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "bounds::descriptors_run_out", "--nocapture"])
        .env(FEW_DESCRIPTORS, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let address: SocketAddr = loop {
        let line = lines
            .next()
            .expect("a line with its address")
            .expect("text");
        if let Some((_, address)) = line.split_once("address ") {
            break address.parse().expect("an address");
        }
    };
    let request = b"GET /stocks/GameStart HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut clients: Vec<Client> = (0..300).map(|_| Client::connect(address)).collect();
    clients.iter().for_each(|client| client.send(request));
    let mut waiting = clients.split_off(270);
    let stuck = waiting.pop().expect("one of them");
    stuck
        .stream
        .set_read_timeout(Some(ms(300)))
        .expect("a time-out");
    assert!(
        (&stuck.stream).read(&mut [0; 1]).is_err(),
        "there are fewer descriptors than connections"
    );
    drop(clients);
    for mut client in waiting {
        assert_eq!(client.answer().expect("served in the end").status, 200);
    }
    drop(stuck);
    assert_serves(address);
    drop(child.stdin.take());
    assert!(child.wait().expect("ends").success());
}

/// The child's part: serves until its standard input ends.
fn serve_with_few_descriptors() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let few = Rlimit {
        current: Some(60),
        maximum: Some(60),
    };
    // After the start, which keeps the connections below what it finds.
    let server = Server::start(Limits::default());
    setrlimit(Resource::Nofile, few).expect("lowered");
    println!("\naddress {}", server.edge.address());
    io::stdin().read_to_end(&mut Vec::new()).expect("reads");
    assert!(server.metric("bazaar_edge_accept_errors_total") >= 1.0);
}
