//! PostgreSQL servers for tests: started from the installed package, in a folder of their own, on a
//! free port, as another user than root; ended with the test, however it ends.

use cluster::addresses::PortBlock;
use cluster::{process, wait};
use parking_lot::Mutex;
use postgres::{Client, NoTls};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;
use std::{env, fs, io};
use tempfile::TempDir;

/// When it is set, tests fail where no server is installed, instead of being skipped.
const REQUIRED: &str = "BAZAAR_POSTGRES_REQUIRED";
/// The user of the database.
const USER: &str = "bazaar";
/// Bound of a start, a stop, a promotion.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server.
#[derive(Debug)]
pub struct Server {
    folder: TempDir,
    ports: PortBlock,
    /// `None` while it is down.
    child: Option<Child>,
    /// Its name as a standby.
    name: String,
    /// Copies of another server's state that it was given. Each has a folder of its own: what is
    /// left of a killed server may still write into the one before.
    copies: u32,
    /// Whether a commit reaches the disk before it is answered.
    fsync: bool,
    /// Whether it offers TLS.
    tls: bool,
}

/// An installed PostgreSQL.
#[derive(Debug)]
struct Installed {
    programs: PathBuf,
    /// Whom to run it as, user and group: PostgreSQL refuses root.
    user: Option<(u32, u32)>,
}

/// The newest installed version; `None`, with a line that says so, where there is none.
fn installed() -> Option<&'static Installed> {
    static FOUND: OnceLock<Option<Installed>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
        let folders = versions.flatten().map(|version| version.path().join("bin"));
        let mut folders: Vec<PathBuf> = folders.filter(|f| f.join("initdb").exists()).collect();
        folders.sort();
        Some(Installed {
            programs: folders.pop()?,
            user: rustix::process::geteuid().is_root().then(other_user),
        })
    });
    if found.is_none() {
        let missing = "no PostgreSQL was found; install it: sudo apt install postgresql";
        assert!(
            env::var_os(REQUIRED).is_none(),
            "{missing} ({REQUIRED} is set)"
        );
        // Not by a macro: what those print is shown of failed tests only.
        let _ = writeln!(io::stderr(), "SKIPPED: {missing}");
    }
    found.as_ref()
}

fn other_user() -> (u32, u32) {
    let id = |flag: &str, user: &str| {
        let ran = Command::new("id")
            .args([flag, user])
            .output()
            .expect("id runs");
        String::from_utf8_lossy(&ran.stdout).trim().parse().ok()
    };
    ["postgres", "nobody"]
        .into_iter()
        .find_map(|user| Some((id("-u", user)?, id("-g", user)?)))
        .expect("there is a user postgres or nobody")
}

impl Installed {
    /// One of its programs, as that user. It dies with this one.
    fn command(&self, program: &str) -> Command {
        let program = self.programs.join(program);
        let mut command = process::dying_with_us(&program);
        if let Some((user, group)) = self.user {
            command = Command::new("setpriv");
            command
                .args(["--pdeathsig", "KILL", "--clear-groups"])
                .arg(format!("--reuid={user}"))
                .arg(format!("--regid={group}"))
                .arg(program);
        }
        command.stdin(Stdio::null()).current_dir("/");
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let ran = self
            .command(program)
            .args(arguments)
            .output()
            .expect("it runs");
        assert!(
            ran.status.success(),
            "{program} {arguments:?}: {}{}",
            String::from_utf8_lossy(&ran.stdout),
            String::from_utf8_lossy(&ran.stderr)
        );
    }
}

impl Server {
    /// A server that all tests of a program share while one has it; each makes a database of its
    /// own. `None` where no PostgreSQL is installed.
    #[must_use]
    pub fn shared() -> Option<Arc<Self>> {
        static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock();
        if let Some(server) = shared.upgrade() {
            return Some(server);
        }
        let server = Arc::new(Self::start()?);
        *shared = Arc::downgrade(&server);
        Some(server)
    }

    /// A server of its own. `None` where no PostgreSQL is installed.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start() -> Option<Self> {
        Self::start_with(|_| ())
    }

    /// The same with a commit that reaches the disk before it is answered, as users run it: times
    /// are then those of a real one.
    #[must_use]
    pub fn start_durable() -> Option<Self> {
        Self::start_with(|server| server.fsync = true)
    }

    /// The same with TLS, and the file of the authority of its certificate, which is for the host
    /// `localhost`.
    ///
    /// # Panics
    /// When `openssl` is missing.
    #[must_use]
    pub fn start_with_tls() -> Option<(Self, PathBuf)> {
        let server = Self::start_with(|server| {
            server.tls = true;
            make_certificates(server.folder.path());
            let (_, group) = installed().and_then(|found| found.user).unzip();
            let key = server.folder.path().join("server.key");
            // The server takes a key that root owns and its group may read.
            chown(&key, None, group).expect("root may");
            let mode = if group.is_some() { 0o640 } else { 0o600 };
            fs::set_permissions(&key, Permissions::from_mode(mode)).expect("its own file");
        })?;
        let authority = server.folder.path().join("authority.pem");
        Some((server, authority))
    }

    fn start_with(set: impl FnOnce(&mut Self)) -> Option<Self> {
        let installed = installed()?;
        let mut server = Self::new(installed, "primary");
        set(&mut server);
        let data = server.data();
        installed.run(
            "initdb",
            &[
                "-D",
                &data,
                "-A",
                "trust",
                "-U",
                USER,
                "--no-sync",
                "-E",
                "UTF8",
            ],
        );
        server.up();
        Some(server)
    }

    /// A standby of this one, which streams. `name` is its name for `synchronous_standby_names`.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn standby(&self, name: &str) -> Self {
        let installed = installed().expect("this one runs");
        let mut standby = Self::new(installed, name);
        standby.follow(self);
        standby
    }

    /// Becomes a standby of another one, which streams: with a copy of that one's state in place of
    /// its own. It may have been killed before.
    ///
    /// # Panics
    /// When it does not start.
    pub fn follow(&mut self, primary: &Self) {
        self.kill();
        self.copies += 1;
        let name = &self.name;
        let source = format!(
            "host=127.0.0.1 port={} user={USER} application_name={name}",
            primary.port()
        );
        let data = self.data();
        let copy = [
            "-D",
            &data,
            "-d",
            &source,
            "--no-sync",
            "-X",
            "stream",
            "-c",
            "fast",
            "-R",
        ];
        let installed = installed().expect("that one runs");
        installed.run("pg_basebackup", &copy);
        let streams = format!(
            "SELECT 1 FROM pg_stat_replication \
             WHERE application_name = '{name}' AND state = 'streaming'"
        );
        self.up();
        primary.until(&streams);
    }

    /// Its name as a standby.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Lets commits wait for this standby.
    ///
    /// # Panics
    /// When it does not become synchronous.
    pub fn require(&self, name: &str) {
        self.admin()
            .batch_execute(&format!(
                "ALTER SYSTEM SET synchronous_standby_names = '{name}'"
            ))
            .expect("sets");
        self.admin()
            .batch_execute("SELECT pg_reload_conf()")
            .expect("reloads");
        self.until(&format!(
            "SELECT 1 FROM pg_stat_replication \
             WHERE application_name = '{name}' AND sync_state = 'sync'"
        ));
    }

    fn new(installed: &Installed, name: &str) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("postgres")
            .tempdir()
            .expect("a folder");
        if let Some((user, group)) = installed.user {
            chown(folder.path(), Some(user), Some(group)).expect("root may");
        }
        Self {
            folder,
            ports: PortBlock::take().expect("free ports"),
            child: None,
            name: name.into(),
            copies: 0,
            fsync: false,
            tls: false,
        }
    }

    fn data(&self) -> String {
        let path = self.folder.path().join(format!("data{}", self.copies));
        path.to_str().expect("UTF-8").into()
    }

    /// Starts it again.
    ///
    /// # Panics
    /// When it does not take connections in time.
    pub fn up(&mut self) {
        let mut child = self.spawn();
        let up = wait::until(PATIENCE, || {
            // After a kill it refuses to start as long as a backend of before still ends.
            if child.try_wait().expect("its status").is_some() {
                child = self.spawn();
            }
            self.connect("postgres").ok()
        });
        self.child = Some(child);
        assert!(
            up.is_some(),
            "it does not start: {}",
            fs::read_to_string(self.log()).unwrap_or_default()
        );
    }

    fn spawn(&self) -> Child {
        let installed = installed().expect("it was started before");
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.log())
            .expect("a log");
        let mut command = installed.command("postgres");
        command.args(["-D", &self.data()]);
        let of_folder = |name: &str| self.folder.path().join(name).display().to_string();
        if self.tls {
            let certificate = format!("ssl_cert_file={}", of_folder("server.pem"));
            let key = format!("ssl_key_file={}", of_folder("server.key"));
            command.args(["-c", "ssl=on", "-c", &certificate, "-c", &key]);
        }
        let sockets = format!("unix_socket_directories={}", self.folder.path().display());
        for setting in [
            "listen_addresses=127.0.0.1",
            &format!("port={}", self.port()),
            &sockets,
            // Where only processes are killed, the kernel keeps what was written.
            if self.fsync { "fsync=on" } else { "fsync=off" },
            "shared_buffers=16MB",
            "wal_level=replica",
            &format!("cluster_name={}", self.name),
            "log_lock_waits=on",
        ] {
            command.args(["-c", setting]);
        }
        command.stdout(log.try_clone().expect("a log")).stderr(log);
        process::spawn(command).expect("it starts")
    }

    /// Its log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn port(&self) -> u16 {
        self.ports.ports().next().expect("a block has ports")
    }

    /// Makes an empty database and returns its URL.
    ///
    /// # Panics
    /// When it cannot.
    #[must_use]
    pub fn database(&self, name: &str) -> String {
        self.admin()
            .batch_execute(&format!("CREATE DATABASE {name}"))
            .expect("makes it");
        self.url(name)
    }

    /// Removes a database, with the connections that are left to it.
    ///
    /// # Panics
    /// When it cannot.
    pub fn drop_database(&self, name: &str) {
        self.admin()
            .batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)"))
            .expect("removes it");
    }

    /// The URL of a database.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{database}", self.port())
    }

    /// The URL of a database that one of these servers has.
    #[must_use]
    pub fn url_of(servers: &[&Self], database: &str) -> String {
        let hosts: Vec<String> = servers
            .iter()
            .map(|s| format!("127.0.0.1:{}", s.port()))
            .collect();
        format!("postgres://{USER}@{}/{database}", hosts.join(","))
    }

    /// A connection past the catalog.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn connect(&self, database: &str) -> Result<Client, postgres::Error> {
        let url = format!("{}?options=-csearch_path%3Dbazaar", self.url(database));
        Client::connect(&url, NoTls)
    }

    fn admin(&self) -> Client {
        self.connect("postgres").expect("connects")
    }

    /// Waits until a statement gives a row.
    fn until(&self, statement: &str) {
        let mut client = self.admin();
        let row = wait::until(PATIENCE, || {
            client.query_opt(statement, &[]).expect("reads")
        });
        assert!(row.is_some(), "never: {statement}");
    }

    /// Makes a standby the primary.
    ///
    /// # Panics
    /// When it does not become one.
    pub fn promote(&self) {
        self.admin()
            .batch_execute("SELECT pg_promote()")
            .expect("promotes");
        self.until("SELECT 1 WHERE NOT pg_is_in_recovery()");
    }

    /// Ends it as a loss of power would, as far as a process can: SIGKILL. Its backends see that it
    /// is gone, and end.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops it at once, and properly.
    ///
    /// # Panics
    /// When it does not end.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let id = i32::try_from(child.id())
                .ok()
                .and_then(Pid::from_raw)
                .expect("an id");
            // "Fast": ends sessions and writes everything down.
            kill_process(id, Signal::INT).expect("it runs");
            child.wait().expect("it ends");
        }
    }

    /// Its folder, for a look at what is left.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// An authority, and a certificate of its for `localhost`.
fn make_certificates(folder: &Path) {
    let openssl = |arguments: &str| {
        let ran = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(folder)
            .stdin(Stdio::null())
            .output()
            .expect("openssl is installed");
        let err = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "openssl {arguments}: {err}");
    };
    let new = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!(
        "req -x509 {new} -keyout authority.key -out authority.pem -days 2 -subj /CN=authority"
    ));
    openssl(&format!(
        "req {new} -keyout server.key -out server.csr -subj /CN=localhost"
    ));
    let extensions = folder.join("extensions");
    fs::write(extensions, "subjectAltName=DNS:localhost\n").expect("written");
    openssl(
        "x509 -req -in server.csr -CA authority.pem -CAkey authority.key -CAcreateserial -days 2 \
         -extfile extensions -out server.pem",
    );
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
