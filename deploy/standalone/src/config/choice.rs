//! Settings that are one of a few names; where comqtt had a number for a name, that is taken too.

use gatemq_gateway::config::{NamedBy, OnFull, ShareStrategy, Transport};
use gatemq_storage::Way;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// Something that is chosen by name.
pub trait Choice: Copy + PartialEq + 'static {
    /// Each choice by its names; the first of a choice's names is the one that is written.
    const NAMES: &'static [(&'static str, Self)];
}

/// A choice that was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chosen<T>(pub T);

/// Where sessions and messages are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageWay {
    /// On this machine, by this engine.
    Engine(Way),
    /// In Redis.
    Redis,
}

/// comqtt's way to authenticate clients: not at all. The others are `auth.sources`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuthWay;

impl Choice for Transport {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("tcp", Self::Tcp),
        ("tls", Self::Tls),
        ("ws", Self::Ws),
        ("wss", Self::Wss),
        ("unix", Self::Unix),
    ];
}

/// Whether a client's certificate says who it is, and where.
impl Choice for Option<NamedBy> {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("none", None),
        ("cn", Some(NamedBy::CommonName)),
        ("san-dns", Some(NamedBy::Dns)),
        ("san-uri", Some(NamedBy::Uri)),
        ("san-email", Some(NamedBy::Email)),
    ];
}

impl Choice for OnFull {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("end-session", Self::EndSession),
        ("reject", Self::Reject),
        ("drop-oldest", Self::DropOldest),
    ];
}

impl Choice for ShareStrategy {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("round-robin", Self::RoundRobin),
        ("random", Self::Random),
        ("sticky", Self::Sticky),
        ("hash-client", Self::HashClient),
        ("hash-topic", Self::HashTopic),
        ("local", Self::Local),
    ];
}

// === impl Chosen ===

impl<T: Choice> Chosen<T> {
    /// The name that is written for it.
    pub fn name(self) -> &'static str {
        T::NAMES
            .iter()
            .find(|(_, choice)| *choice == self.0)
            .map_or("", |(name, _)| name)
    }
}

impl<'de, T: Choice> Deserialize<'de> for Chosen<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let found = T::NAMES.iter().find(|(name, _)| *name == text);
        found.map(|(_, choice)| Self(*choice)).ok_or_else(|| {
            let names: Vec<_> = T::NAMES.iter().map(|(name, _)| *name).collect();
            D::Error::custom(format!("{text:?} is not one of {}", names.join(", ")))
        })
    }
}

impl<T: Choice> Serialize for Chosen<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

// === impl StorageWay ===

impl StorageWay {
    /// The name that is written for it.
    pub fn name(self) -> String {
        match self {
            Self::Engine(way) => way.to_string(),
            Self::Redis => "redis".to_owned(),
        }
    }
}

impl Default for StorageWay {
    fn default() -> Self {
        Self::Engine(Way::Redb)
    }
}

impl<'de> Deserialize<'de> for StorageWay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "redis" | "3" => Ok(Self::Redis),
            text => text.parse().map(Self::Engine).map_err(D::Error::custom),
        }
    }
}

impl Serialize for StorageWay {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name())
    }
}

// === impl AuthWay ===

impl<'de> Deserialize<'de> for AuthWay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "anonymous" | "0" => Ok(Self),
            "1" | "2" => Err(D::Error::custom(format!(
                "{text} is not there yet by itself: write auth.sources, or a comqtt file with a datasource"
            ))),
            _ => Err(D::Error::custom(format!("{text:?} is not 0 (anonymous)"))),
        }
    }
}

impl Serialize for AuthWay {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("anonymous")
    }
}
