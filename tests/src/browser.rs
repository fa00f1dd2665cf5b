//! A real browser, driven by the WebDriver protocol (W3C) through chromedriver: JSON over HTTP, one
//! command after the other.

use client::api::Api;
use cluster::wait;
use serde_json::{Value, json};
use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Set where a missing browser is a failure, as in the project's own check.
const REQUIRED: &str = "BAZAAR_BROWSER_REQUIRED";
/// Names the file `axe.min.js` of axe-core, which looks for what keeps people out of a page.
const AXE: &str = "BAZAAR_AXE";
/// How to get it.
const AXE_HOW: &str = "tests/axe.sh FOLDER fetches it";
/// Bound of one command; starting a browser on a busy machine is the longest.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(90);
/// How long the page may take to show something.
const PATIENCE: Duration = Duration::from_secs(45);
/// Name of the field that holds an element's id in every answer (W3C WebDriver, section 12).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
/// The Enter key, as WebDriver writes it.
pub const ENTER: &str = "\u{E007}";
/// The Tab key.
pub const TAB: &str = "\u{E004}";

/// A browser with one window. Dropping it closes it.
#[derive(Debug)]
pub struct Browser {
    driver: Child,
    api: Api,
    session: String,
}

impl Browser {
    /// Starts chromium; `None`, with a line that says so, where none is installed.
    ///
    /// # Panics
    /// When it does not start, or is missing although `BAZAAR_BROWSER_REQUIRED` is set.
    #[must_use]
    pub fn start() -> Option<Self> {
        let chromium = ["chromium", "chromium-browser", "google-chrome"]
            .into_iter()
            .find_map(installed);
        let (Some(chromium), Some(driver)) = (chromium, installed("chromedriver")) else {
            let missing =
                "no browser was found; install it: sudo apt install chromium chromium-driver";
            assert!(
                env::var_os(REQUIRED).is_none(),
                "{missing} ({REQUIRED} is set)"
            );
            // Not by a macro: what those print is shown of failed tests only.
            let _ = writeln!(io::stderr(), "SKIPPED: {missing}");
            return None;
        };
        let mut driver = Command::new(driver)
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver starts");
        let mut lines = BufReader::new(driver.stdout.take().expect("a pipe"))
            .lines()
            .map_while(Result::ok);
        let port = lines.find_map(|line| {
            line.split_once("successfully on port ")?
                .1
                .trim_end_matches('.')
                .parse::<u16>()
                .ok()
        });
        let port = port.expect("chromedriver says where it listens");
        // It must never wait for us to read what else it says.
        std::thread::spawn(move || lines.for_each(drop));
        let api = Api::with_timeout(&format!("http://127.0.0.1:{port}"), COMMAND_TIMEOUT);
        let mut browser = Self {
            driver,
            api,
            session: String::new(),
        };
        let mut args = vec![
            "--headless=new",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--no-proxy-server",
        ];
        args.extend([
            "--no-first-run",
            "--lang=en",
            "--force-color-profile=srgb",
            "--window-size=1280,900",
        ]);
        if rustix::process::geteuid().is_root() {
            // Chromium refuses its sandbox to root, which is who runs in containers.
            args.push("--no-sandbox");
        }
        let options = json!({ "binary": chromium, "args": args });
        let wanted =
            json!({ "goog:chromeOptions": options, "goog:loggingPrefs": { "browser": "ALL" } });
        let begun = browser.call(
            "POST",
            "/session",
            &json!({ "capabilities": { "alwaysMatch": wanted } }),
        );
        browser.session = begun["sessionId"].as_str().expect("a session").to_owned();
        Some(browser)
    }

    /// Opens a page and waits until it is loaded.
    pub fn open(&self, url: &str) {
        self.command("/url", &json!({ "url": url }));
    }

    /// Opens one more tab (`tab`) or window (`window`) and goes on in it; gives its handle.
    pub fn another(&self, kind: &str) -> String {
        let opened = self.command("/window/new", &json!({ "type": kind }));
        let handle = opened["handle"].as_str().expect("a handle").to_owned();
        self.go_to(&handle);
        handle
    }

    /// Goes on in another tab, which becomes the visible one of its window.
    pub fn go_to(&self, handle: &str) {
        self.command("/window", &json!({ "handle": handle }));
        self.devtools("Page.bringToFront", &json!({}));
    }

    /// Hides the window and its tabs.
    pub fn hide(&self) {
        self.command("/window/minimize", &json!({}));
    }

    /// Shows it again.
    pub fn show(&self) {
        self.command("/window/maximize", &json!({}));
    }

    /// The tab in which it goes on.
    pub fn tab(&self) -> String {
        let handle = self.call(
            "GET",
            &format!("/session/{}/window", self.session),
            &Value::Null,
        );
        handle.as_str().expect("a handle").to_owned()
    }

    /// Runs a script before any other in each page that is opened from here on in this tab.
    pub fn before_each_page(&self, script: &str) {
        self.devtools("Page.enable", &json!({}));
        self.devtools(
            "Page.addScriptToEvaluateOnNewDocument",
            &json!({ "source": script }),
        );
    }

    /// The faults that axe-core finds in the page, one line for each element. `None`, with a line
    /// that says so, where it is not installed.
    ///
    /// # Panics
    /// When it is missing although `BAZAAR_BROWSER_REQUIRED` is set, or cannot be run.
    pub fn axe(&self) -> Option<Vec<String>> {
        let Some(path) = env::var_os(AXE) else {
            let missing = format!("axe-core was not run: {AXE} names no axe.min.js; {AXE_HOW}");
            assert!(
                env::var_os(REQUIRED).is_none(),
                "{missing} ({REQUIRED} is set)"
            );
            let _ = writeln!(io::stderr(), "SKIPPED: {missing}");
            return None;
        };
        let source = fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{AXE}={}: {error}; {AXE_HOW}", path.display()));
        // By the driver, not as an element: the page's policy lets no other script in.
        let _ = self.script(&source);
        let rules = "return axe.run(document, { resultTypes: ['violations'] })
        .then(({ violations, passes }) => ({
            looked: passes.length,
            found: violations.flatMap(({ id, help, nodes }) =>
                nodes.map(({ html }) => `${id}: ${help}: ${html.slice(0, 160)}`)),
        }))";
        let result = self.script(rules);
        assert!(
            result["looked"].as_u64() > Some(20),
            "axe looked at nothing: {result}"
        );
        Some(serde_json::from_value(result["found"].clone()).expect("lines"))
    }

    /// Loads the page again.
    pub fn reload(&self) {
        self.command("/refresh", &json!({}));
    }

    /// Runs a script's function body and gives what it returns.
    pub fn script(&self, body: &str) -> Value {
        self.command("/execute/sync", &json!({ "script": body, "args": [] }))
    }

    /// The text of the first element that fits a CSS selector; empty while there is none.
    pub fn text(&self, selector: &str) -> String {
        let selector = Value::from(selector);
        let text = self.script(&format!(
            "return document.querySelector({selector})?.textContent ?? ''"
        ));
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until that text fits, and gives it.
    ///
    /// # Panics
    /// When it does not in time.
    pub fn wait_text(&self, selector: &str, fits: impl Fn(&str) -> bool) -> String {
        let mut last = String::new();
        let found = wait::until(PATIENCE, || {
            last = self.text(selector);
            fits(&last).then(|| last.clone())
        });
        found.unwrap_or_else(|| {
            panic!(
                "'{selector}' never fitted; its last text was '{last}'\n{}",
                self.text("body")
            )
        })
    }

    /// Waits until that text contains `part`.
    pub fn wait_part(&self, selector: &str, part: &str) -> String {
        println!("waiting for '{part}' in {selector}");
        self.wait_text(selector, |text| text.contains(part))
    }

    /// Clicks on an element, as a person would: scrolled into view, and not covered by another.
    pub fn click(&self, selector: &str) {
        let element = self.element(selector);
        self.command(&format!("/element/{element}/click"), &json!({}));
    }

    /// Replaces what is in a field by typing.
    pub fn fill(&self, selector: &str, text: &str) {
        let element = self.element(selector);
        self.command(&format!("/element/{element}/clear"), &json!({}));
        self.command(
            &format!("/element/{element}/value"),
            &json!({ "text": text }),
        );
    }

    /// Presses a key wherever the focus is.
    pub fn press(&self, key: &str) {
        let presses = [
            json!({ "type": "keyDown", "value": key }),
            json!({ "type": "keyUp", "value": key }),
        ];
        self.command(
            "/actions",
            &json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": presses }] }),
        );
    }

    /// Types where the focus is, as a person would: what is selected is replaced.
    pub fn type_text(&self, text: &str) {
        text.chars().for_each(|key| self.press(&key.to_string()));
    }

    /// The name that a screen reader gives an element.
    pub fn label(&self, selector: &str) -> String {
        self.computed(selector, "computedlabel")
    }

    /// The role that a screen reader gives an element.
    pub fn role(&self, selector: &str) -> String {
        self.computed(selector, "computedrole")
    }

    fn computed(&self, selector: &str, what: &str) -> String {
        let element = self.element(selector);
        let value = self.call(
            "GET",
            &format!("/session/{}/element/{element}/{what}", self.session),
            &Value::Null,
        );
        value.as_str().unwrap_or_default().to_owned()
    }

    /// Shows the page as on a screen of that size and colour scheme.
    pub fn look(&self, width: u32, height: u32, phone: bool, dark: bool) {
        let screen = json!({
            "width": width,
            "height": height,
            "deviceScaleFactor": if phone { 2 } else { 1 },
            "mobile": phone,
        });
        self.devtools("Emulation.setDeviceMetricsOverride", &screen);
        self.devtools(
            "Emulation.setTouchEmulationEnabled",
            &json!({ "enabled": phone }),
        );
        let scheme =
            json!({ "name": "prefers-color-scheme", "value": if dark { "dark" } else { "light" } });
        self.devtools(
            "Emulation.setEmulatedMedia",
            &json!({ "features": [scheme] }),
        );
    }

    /// Keeps a picture of the whole page, also of what is below the window's edge.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn picture(&self, path: &Path) {
        let size = self.devtools("Page.getLayoutMetrics", &json!({}))["cssContentSize"].clone();
        let clip =
            json!({ "x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1 });
        let shot = self.devtools(
            "Page.captureScreenshot",
            &json!({ "captureBeyondViewport": true, "clip": clip }),
        );
        let data = base64::Engine::decode(
            &base64::engine::general_purpose::STANDARD,
            shot["data"].as_str().expect("a picture"),
        );
        fs::create_dir_all(path.parent().expect("a folder")).expect("the folder can be made");
        fs::write(path, data.expect("base64")).expect("the picture can be written");
        println!("{}", path.display());
    }

    /// The browser's complaints since the last call: errors of the script, violations of its
    /// policies, failed requests.
    pub fn complaints(&self) -> Vec<String> {
        let entries = self.command("/se/log", &json!({ "type": "browser" }));
        let entries = entries.as_array().cloned().unwrap_or_default();
        entries
            .iter()
            .filter_map(|entry| Some(entry["message"].as_str()?.to_owned()))
            .collect()
    }

    fn devtools(&self, command: &str, parameters: &Value) -> Value {
        self.command(
            "/goog/cdp/execute",
            &json!({ "cmd": command, "params": parameters }),
        )
    }

    fn element(&self, selector: &str) -> String {
        let found = self.command(
            "/element",
            &json!({ "using": "css selector", "value": selector }),
        );
        found[ELEMENT].as_str().expect("an element").to_owned()
    }

    fn command(&self, path: &str, parameters: &Value) -> Value {
        self.call(
            "POST",
            &format!("/session/{}{path}", self.session),
            parameters,
        )
    }

    fn call(&self, method: &str, path: &str, parameters: &Value) -> Value {
        let body = parameters.to_string();
        let answer = self.api.send(
            method,
            path,
            &[],
            (method == "POST").then_some(body.as_bytes()),
        );
        let answer = answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        let mut read: Value = serde_json::from_str(&answer.body).expect("JSON");
        assert_eq!(
            answer.status, 200,
            "{method} {path} {parameters}: {}",
            read["value"]["message"]
        );
        read["value"].take()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The session first: it is what ends the browser.
        let _ = self
            .api
            .send("DELETE", &format!("/session/{}", self.session), &[], None);
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// Where a program is, by the PATH.
fn installed(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}
