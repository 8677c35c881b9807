//! From file, environment and flags to the configuration that holds.

use super::{Config, StorageWay, apart, listener};
use crate::Tiers;
use crate::comqtt;
use crate::flags::Flags;
use gatemq_gateway::config as gateway;
use gatemq_node::config::{Error, File, Layers, Loaded, Problem};
use std::path::Path;

/// A configuration that is known to be right.
#[derive(Debug)]
pub struct Configured {
    loaded: Loaded<Config>,
    /// What the gateway is told.
    pub gateway: gateway::Config,
    /// What was given but has no meaning here, one line each.
    pub warnings: Vec<String>,
}

/// Loads defaults < file < environment < flags.
pub fn load(
    tiers: Tiers,
    flags: &Flags,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Configured, Error> {
    let mut layers = Layers::new::<Config>();
    let mut warnings = Vec::new();
    let mut not_to_be_had = None;
    let mut bridge_conf = flags
        .bridge_conf
        .clone()
        .map(|path| ("--bridge-conf", path));
    if let Some(path) = &flags.conf {
        let file = File::read(path)?;
        if comqtt::recognises(file.tree()) {
            let mut translation = comqtt::translate(file.tree());
            if let Some((kind, path)) = comqtt::auth::file_of(file.tree()) {
                let users = File::read(Path::new(path))?;
                let source = comqtt::auth::source(kind, users.tree());
                not_to_be_had = source.as_ref().err().map(|what| format!("{path}: {what}"));
                translation.set_sources(source.into_iter().collect());
            }
            if let Some(path) =
                comqtt::bridge::file_of(file.tree()).map_err(|problem| file.error(&problem))?
            {
                translation.has_bridge();
                if tiers.bridge {
                    bridge_conf.get_or_insert((comqtt::bridge::PATH, path.into()));
                } else {
                    warnings.push(format!(
                        "{}: {}: the bridge is a process of its own, gatemq-bridge, which reads \
                         this file, too",
                        file.place(comqtt::bridge::WAY),
                        comqtt::bridge::WAY,
                    ));
                }
            }
            let place = |key: &String| format!("{}: {key}: has no meaning here", file.place(key));
            warnings.extend(translation.without_meaning.iter().map(place));
            layers.translated(file, translation.keys)?;
        } else {
            layers.file(file)?;
        }
    }
    if let Some((named_by, path)) = bridge_conf {
        let described = bridge(tiers, &path, &mut layers, &mut warnings);
        described.map_err(|what| Problem::new(named_by, what).alone())?;
    }
    layers.environment("GATEMQ_", variables)?;
    for (flag, key, text) in &flags.settings {
        layers.flag(flag, key, text)?;
    }
    warnings.extend(
        flags
            .without_meaning
            .iter()
            .map(|flag| format!("{flag}: has no meaning here")),
    );
    let mut loaded = layers.build::<Config>()?;
    if let Some(what) = not_to_be_had {
        return Err(loaded.locate(&Problem::new("auth.sources", what)));
    }
    if loaded.config.is_clustered() && !loaded.is_set("storage.way") {
        loaded.config.storage.way = StorageWay::Redis;
    }
    let gateway = loaded
        .config
        .to_gateway(tiers)
        .map_err(|problem| loaded.locate(&problem))?;
    apart::check(&loaded.config, tiers, &gateway, |key| loaded.is_set(key))
        .map_err(|problem| loaded.locate(&problem))?;
    Ok(Configured {
        loaded,
        gateway,
        warnings,
    })
}

/// Takes what comqtt's file of its bridge says.
#[cfg(feature = "bridge")]
fn bridge(
    tiers: Tiers,
    path: &Path,
    layers: &mut Layers,
    warnings: &mut Vec<String>,
) -> Result<(), String> {
    if !tiers.bridge {
        return Err(NO_BRIDGE.to_owned());
    }
    let described = comqtt::bridge::read(path)?;
    warnings.extend(described.warnings);
    let added = layers.translated(described.file, described.keys);
    added.map_err(|error| error.to_string())
}

#[cfg(not(feature = "bridge"))]
fn bridge(_: Tiers, _: &Path, _: &mut Layers, _: &mut Vec<String>) -> Result<(), String> {
    Err(NO_BRIDGE.to_owned())
}

const NO_BRIDGE: &str = "this program is no bridge: start gatemq-bridge with it";

impl Configured {
    /// As it was written.
    pub fn config(&self) -> &Config {
        &self.loaded.config
    }

    /// Looks at the files and folders that it names, so that a bad one is an error of the
    /// configuration.
    pub fn check_files(&self, tiers: Tiers) -> Result<(), Error> {
        let config = &self.loaded.config;
        listener::check_identities(config)
            .and_then(|()| config.check_folder())
            .and_then(|()| config.api.all().map(drop))
            .and_then(|()| config.auth.check_files())
            .and_then(|()| config.bans.check_files())
            .and_then(|()| config.check_bridge(tiers))
            .and_then(|()| config.credentials(tiers).map(drop))
            .map_err(|problem| self.loaded.locate(&problem))
    }
}
