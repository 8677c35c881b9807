//! Real databases, PostgreSQL and MariaDB, each with the tables of comqtt's examples. They run as a
//! user who is not root where the tests are: PostgreSQL refuses to be.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    cluster::process::{Log, Process},
    patience, ports,
};

const START_LIMIT: Duration = Duration::from_secs(30);
/// Who logs in, and with which password.
pub const LOGIN: (&str, &str) = ("gate", "hunter2");
const NAME: &str = "comqtt";

/// The kinds of databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// PostgreSQL.
    Postgresql,
    /// MariaDB, which speaks MySQL's protocol.
    Mariadb,
}

/// A database of this test's own.
pub struct Database {
    kind: Kind,
    port: u16,
    dir: TempDir,
    has_tls: bool,
    process: Mutex<Option<Process>>,
    log: Log,
}

// === impl Database ===

impl Database {
    /// Starts one with empty tables: `auth` and `acl`, or `mqtt_user` and `mqtt_acl`.
    #[track_caller]
    pub fn start(kind: Kind) -> Self {
        Self::start_with(kind, None)
    }

    /// The same, of one that has TLS, too. The folder has `server.pem` with `server.key`.
    #[track_caller]
    pub fn start_with_tls(kind: Kind, folder: &Path) -> Self {
        Self::start_with(kind, Some(folder))
    }

    #[track_caller]
    fn start_with(kind: Kind, tls: Option<&Path>) -> Self {
        let database = Self {
            kind,
            port: ports::free(),
            dir: tempfile::Builder::new()
                .prefix("gatemq-db-")
                .tempdir()
                .expect("a temporary directory"),
            has_tls: tls.is_some(),
            process: Mutex::default(),
            log: Log::default(),
        };
        if let Some(folder) = tls {
            database.take_identity(folder);
        }
        database.initialize();
        database.restart();
        let tables = match kind {
            Kind::Postgresql => POSTGRESQL_TABLES,
            Kind::Mariadb => MARIADB_TABLES,
        };
        database.run(tables);
        database
    }

    /// The keys of a source in the configuration that say where it is.
    pub fn keys(&self) -> String {
        let kind = match self.kind {
            Kind::Postgresql => "postgresql",
            Kind::Mariadb => "mysql",
        };
        let (username, password) = LOGIN;
        format!(
            "type: {kind}, host: 127.0.0.1, port: {}, database: {NAME}, username: {username}, \
             password: {password}",
            self.port
        )
    }

    /// Gives it another certificate and key, and starts it again.
    #[track_caller]
    pub fn certify(&self, folder: &Path) {
        self.take_identity(folder);
        self.restart();
    }

    fn take_identity(&self, folder: &Path) {
        for name in ["server.pem", "server.key"] {
            let copy = self.dir.path().join(name);
            // What is there keeps its owner.
            let text = fs::read(folder.join(name)).expect("the file is there");
            fs::write(&copy, text).expect("it is writable");
            // PostgreSQL takes no key that others could read.
            fs::set_permissions(copy, Permissions::from_mode(0o600)).expect("it is ours");
        }
    }

    /// How many connections with TLS it has, or has had.
    #[track_caller]
    pub fn n_encrypted(&self) -> usize {
        let number = match self.kind {
            Kind::Postgresql => self.run(
                "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                 WHERE ssl AND application_name = 'gatemq'",
            ),
            Kind::Mariadb => {
                let status = self.run("SHOW GLOBAL STATUS LIKE 'Ssl_finished_accepts'");
                status.rsplit('\t').next().unwrap_or_default().to_owned()
            }
        };
        number.parse().expect("a number")
    }

    /// Ends it at once, with all connections.
    pub fn kill(&self) {
        self.with(|process| {
            let Some(mut running) = process.take() else {
                return;
            };
            if self.kind == Kind::Postgresql {
                // Its children end with it, and nothing is left that a new one would find in use.
                running.signal(Signal::QUIT);
                patience::becomes_true(START_LIMIT, || !running.is_running());
            }
        });
    }

    /// Starts it again on its data and its port, after killing it where it runs.
    #[track_caller]
    pub fn restart(&self) {
        self.kill();
        let (command, ready) = match self.kind {
            Kind::Postgresql => (self.postgresql(), "database system is ready to accept"),
            Kind::Mariadb => (self.mariadb(), "ready for connections"),
        };
        let started = Process::spawn(command, self.dir.path(), &self.log, ready);
        let started = started.and_then(|mut process| {
            process.wait_until_ready(START_LIMIT)?;
            Ok(process)
        });
        match started {
            Ok(started) => self.with(|process| *process = Some(started)),
            Err(trouble) => panic!("{:?}: {trouble}\n{}", self.kind, self.log.tail(20)),
        }
    }

    /// Runs statements, and returns what they print, fields apart by tabs.
    #[track_caller]
    pub fn run(&self, statements: &str) -> String {
        let port = self.port.to_string();
        let (username, password) = LOGIN;
        let mut command = match self.kind {
            Kind::Postgresql => {
                let mut command = Command::new("psql");
                command
                    .env("PGPASSWORD", password)
                    .args(["-X", "-q", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1"])
                    .args(["-h", "127.0.0.1", "-p", &port, "-U", username, "-d", NAME])
                    .args(["-c", statements]);
                command
            }
            Kind::Mariadb => {
                let mut command = Command::new("mariadb");
                command
                    .args([
                        "--no-defaults",
                        "--batch",
                        "--skip-column-names",
                        "--raw",
                        "--skip-ssl",
                    ])
                    .args(["-h", "127.0.0.1", "-P", &port, "-u", username])
                    .arg(format!("-p{password}"))
                    .args(["--default-character-set=utf8mb4", NAME, "-e", statements]);
                command
            }
        };
        let output = command.output().expect("the client runs");
        done(&output, statements).trim_end().to_owned()
    }

    /// SIGSTOP: it takes connections and answers nothing.
    pub fn pause(&self) {
        self.signal_all("STOP");
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal_all("CONT");
    }

    /// To the process and its children, which have the connections of PostgreSQL.
    fn signal_all(&self, name: &str) {
        let pid = self.with(|process| process.as_ref().expect("it runs").pid());
        let script = "kill -\"$1\" \"$2\" $(cat /proc/\"$2\"/task/*/children)";
        let status = Command::new("sh")
            .args(["-c", script, "sh", name, &pid.to_string()])
            .status()
            .expect("sh runs");
        assert!(status.success(), "cannot send SIG{name} to {pid}");
    }

    fn initialize(&self) {
        let data = self.data();
        let data = data.to_str().expect("UTF-8");
        let (username, password) = LOGIN;
        match self.kind {
            Kind::Postgresql => {
                let file = self.dir.path().join("password");
                fs::write(&file, password).expect("it is writable");
                if is_root() {
                    let dir = self.dir.path();
                    let output = Command::new("chown")
                        .args(["-R", "postgres"])
                        .arg(dir)
                        .output();
                    done(&output.expect("chown runs"), "chown");
                }
                let output = as_nobody(&postgresql_program("initdb"))
                    .current_dir(self.dir.path())
                    .args([
                        "-D",
                        data,
                        "-U",
                        username,
                        "--auth=scram-sha-256",
                        "--no-sync",
                    ])
                    .args(["--encoding=UTF8", "--locale=C", "--pwfile=password"])
                    .output();
                done(&output.expect("initdb runs"), "initdb");
                let mut single = as_nobody(&postgresql_program("postgres"));
                let output = single
                    .args(["--single", "-D", data, "postgres"])
                    .stdin(self.script(&format!("CREATE DATABASE {NAME};\n")))
                    .output();
                done(&output.expect("postgres runs"), "postgres --single");
            }
            Kind::Mariadb => {
                let mut install = Command::new("mariadb-install-db");
                install
                    .args(["--no-defaults", "--skip-test-db", "--skip-name-resolve"])
                    .args(["--auth-root-authentication-method=normal"])
                    .arg(format!("--datadir={data}"))
                    .env("TMPDIR", self.dir.path()); // each removes what it finds there of others
                if is_root() {
                    install.arg("--user=root");
                }
                done(&install.output().expect("it runs"), "mariadb-install-db");
                let script = format!(
                    "CREATE DATABASE IF NOT EXISTS {NAME} CHARACTER SET utf8mb4;\n\
                     CREATE USER IF NOT EXISTS {username}@'127.0.0.1' IDENTIFIED BY '{password}';\n\
                     GRANT ALL ON {NAME}.* TO {username}@'127.0.0.1';\n"
                );
                fs::write(self.dir.path().join("init.sql"), script).expect("it is writable");
            }
        }
    }

    fn postgresql(&self) -> Command {
        let mut command = as_nobody("sh");
        // Its log goes where it is read.
        command
            .args(["-c", "exec \"$@\" 2>&1", "sh"])
            .arg(postgresql_program("postgres"))
            .arg("-D")
            .arg(self.data())
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-k", ""])
            .args(["-c", "fsync=off", "-c", "log_statement=all"]);
        if self.has_tls {
            let [certificate, key] = self.tls_files();
            command.args([
                "-c",
                "ssl=on",
                "-c",
                &format!("ssl_cert_file={certificate}"),
            ]);
            command.args(["-c", &format!("ssl_key_file={key}")]);
        }
        command
    }

    fn mariadb(&self) -> Command {
        let dir = self.dir.path();
        let mut command = Command::new("sh");
        command
            .args(["-c", "exec \"$@\" 2>&1", "sh", "mariadbd", "--no-defaults"])
            .arg(format!("--datadir={}", self.data().display()))
            .arg(format!("--tmpdir={}", dir.display()))
            .arg(format!("--socket={}", dir.join("s").display()))
            .arg(format!("--pid-file={}", dir.join("pid").display()))
            .arg(format!("--port={}", self.port))
            .args(["--bind-address=127.0.0.1", "--skip-networking=0"])
            .args(["--skip-name-resolve", "--innodb-flush-log-at-trx-commit=2"])
            .arg(format!("--init-file={}", dir.join("init.sql").display()))
            .args(["--innodb-buffer-pool-size=16M", "--performance-schema=off"]);
        if is_root() {
            command.arg("--user=root");
        }
        if self.has_tls {
            let [certificate, key] = self.tls_files();
            command.arg(format!("--ssl-cert={certificate}"));
            command.arg(format!("--ssl-key={key}"));
        }
        command
    }

    fn tls_files(&self) -> [String; 2] {
        ["server.pem", "server.key"].map(|name| self.dir.path().join(name).display().to_string())
    }

    fn script(&self, text: &str) -> fs::File {
        let path = self.dir.path().join("script");
        fs::write(&path, text).expect("it is writable");
        fs::File::open(&path).expect("it was written")
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn with<T>(&self, act: impl FnOnce(&mut Option<Process>) -> T) -> T {
        act(&mut self.process.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.kill();
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A command of the user `postgres` where this one is root.
fn as_nobody(program: &str) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args([
        "--reuid=postgres",
        "--regid=postgres",
        "--clear-groups",
        program,
    ]);
    command
}

/// Debian has the programs of PostgreSQL in a folder of their version.
fn postgresql_program(name: &str) -> String {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let found = versions.filter_map(|version| {
        let path = version.ok()?.path().join("bin").join(name);
        path.exists().then(|| path.to_string_lossy().into_owned())
    });
    found.max().unwrap_or_else(|| name.to_owned())
}

/// What a program printed, if it succeeded.
#[track_caller]
fn done(output: &Output, what: &str) -> String {
    let [stdout, stderr] =
        [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert!(output.status.success(), "{what}: {stdout}{stderr}");
    stdout
}

const POSTGRESQL_TABLES: &str = "
CREATE TABLE mqtt_user (
    id SERIAL PRIMARY KEY,
    username TEXT NOT NULL UNIQUE,
    password TEXT NOT NULL,
    allow SMALLINT NOT NULL DEFAULT 1,
    created TIMESTAMPTZ DEFAULT NOW(),
    updated TIMESTAMPTZ
);
CREATE TABLE mqtt_acl (
    id SERIAL PRIMARY KEY,
    username TEXT NOT NULL,
    topic TEXT NOT NULL,
    access SMALLINT NOT NULL DEFAULT 3,
    created TIMESTAMPTZ DEFAULT NOW(),
    updated TIMESTAMPTZ
);
CREATE INDEX mqtt_acl_username_idx ON mqtt_acl (username);
";

const MARIADB_TABLES: &str = "
CREATE TABLE auth (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    username VARCHAR(255) NOT NULL,
    password VARCHAR(255) NOT NULL,
    allow SMALLINT NOT NULL DEFAULT 1,
    created TIMESTAMP NULL DEFAULT CURRENT_TIMESTAMP,
    updated TIMESTAMP NULL,
    UNIQUE KEY auth_username_IDX (username)
);
CREATE TABLE acl (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    username VARCHAR(255) NOT NULL,
    topic VARCHAR(255) NOT NULL,
    access SMALLINT NOT NULL DEFAULT 3,
    created TIMESTAMP NULL DEFAULT CURRENT_TIMESTAMP,
    updated TIMESTAMP NULL,
    KEY acl_username_IDX (username)
);
";
