//! The `log` section: comqtt's settings, with its numbers for names.

use super::Chosen;
use super::choice::Choice;
use gatemq_node::config::{Number, Period, Problem, Size};
use gatemq_node::log::{self, Format};
use serde::{Deserialize, Deserializer, Serialize, de::Error};

/// What is logged, how and where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[expect(missing_docs, reason = "deploy/config/gatemq.yml explains each key")]
pub struct Log {
    pub enable: bool,
    pub format: Chosen<Format>,
    pub output: Chosen<Output>,
    pub level: Level,
    pub file: String,
    pub max_size: Size<1024, { 1 << 40 }>,
    pub max_age: Period<0, 315_360_000_000>,
    pub max_backups: Number<0, 1000>,
}

/// Where log lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// To stderr.
    Console,
    /// To the file.
    File,
    /// To both.
    Both,
}

/// A level, and exceptions by module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Level(String);

impl Choice for Format {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("text", Self::Text),
        ("json", Self::Json),
        ("0", Self::Text),
        ("1", Self::Json),
    ];
}

impl Choice for Output {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("console", Self::Console),
        ("file", Self::File),
        ("both", Self::Both),
        ("0", Self::Console),
        ("1", Self::File),
        ("2", Self::Both),
    ];
}

impl Default for Log {
    fn default() -> Self {
        Self {
            enable: true,
            format: Chosen(Format::Text),
            output: Chosen(Output::Console),
            level: Level("info".to_owned()),
            file: "./logs/gatemq.log".to_owned(),
            max_size: Size::new(100 << 20),
            max_age: Period::new(30 * 86_400_000),
            max_backups: Number::new(10),
        }
    }
}

impl Log {
    /// Whether it says where to.
    pub(super) fn check(&self) -> Result<(), Problem> {
        if self.enable && self.output.0 != Output::Console && self.file.is_empty() {
            let what = "is empty, and log.output asks for a file: name one";
            return Err(Problem::new("log.file", what));
        }
        Ok(())
    }

    /// What the node is told; `None` if nothing is to be logged.
    pub(super) fn to_node(&self) -> Option<log::Config> {
        let file = log::File {
            path: self.file.as_str().into(),
            max_size: self.max_size.get().unwrap_or(u64::MAX),
            max_backups: self.max_backups.get().unwrap_or(usize::MAX),
            max_age: self.max_age.duration(),
        };
        self.enable.then(|| log::Config {
            format: self.format.0,
            console: self.output.0 != Output::File,
            file: (self.output.0 != Output::Console).then_some(file),
            filter: self.level.0.clone(),
        })
    }
}

impl<'de> Deserialize<'de> for Level {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let name = match text.as_str() {
            "-4" => "debug",
            "0" => "info",
            "4" => "warn",
            "8" => "error",
            text => text,
        };
        let error = |error| {
            let hint = "write a level (error, warn, info, debug, trace) and exceptions by module, \
                        as in info,gatemq_gateway::session=debug";
            D::Error::custom(format!("{error}: {hint}"))
        };
        log::filter(name)
            .map(|_| Self(name.to_owned()))
            .map_err(error)
    }
}
