//! A panic anywhere ends the process with the documented code.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

/// Set for the process that is to panic.
const CHILD: &str = "PANICS_TEST_CHILD";
/// A shell shows it as exit code 134.
const SIGABRT: i32 = 6;

/// A panic in a thread that nobody waits for aborts the whole process: no service goes on with a
/// part of its threads.
#[test]
fn ends_the_process() {
    if std::env::var_os(CHILD).is_some() {
        common::threads::end_process_on_panic();
        // Without a name it is none of ours: tiny_http's threads have none.
        let panicking = std::thread::spawn(|| panic!("as the test wants"));
        assert!(panicking.join().is_err());
        println!("goes on");
        let named = std::thread::Builder::new().name("ours".into());
        let panicking = named.spawn(|| panic!("as the test wants"));
        assert!(panicking.expect("starts").join().is_err());
        return;
    }
    let this = std::env::current_exe().expect("this program");
    let child = Command::new(this)
        .args(["--exact", "ends_the_process", "--nocapture"])
        .env(CHILD, "1")
        .output();
    let child = child.expect("starts");
    assert_eq!(child.status.signal(), Some(SIGABRT), "{child:?}");
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(output.contains("goes on"), "{output}");
}
