//! `cluster.tls`: the files by which this node and the others know one another.

use std::path::PathBuf;
use std::sync::Arc;

use gatemq_node::config::Problem;
use gatemq_node::credentials::{Credentials, Files, Role, Roles};
use serde::{Deserialize, Serialize};

use crate::Tiers;
use crate::config::Config;

/// Where they are; all of them or none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[expect(missing_docs, reason = "deploy/config/gatemq.yml explains each key")]
pub struct NodeTls {
    pub ca: String,
    pub cert: String,
    pub key: String,
}

impl NodeTls {
    /// All three, for tests and the schema.
    #[cfg(test)]
    pub(crate) fn example() -> Self {
        Self {
            ca: "ca.crt".to_owned(),
            cert: "n1.crt".to_owned(),
            key: "n1.key".to_owned(),
        }
    }

    /// Whether there are any.
    pub fn is_given(&self) -> bool {
        self.all().iter().any(|(_, file)| !file.is_empty())
    }

    pub(super) fn check(&self) -> Result<(), Problem> {
        let missing = self.all().into_iter().find(|(_, file)| file.is_empty());
        match missing {
            Some((key, _)) if self.is_given() => {
                let what = "is missing: ca, cert and key go together; `gatemq pki init` makes them";
                Err(Problem::new(key, what))
            }
            _ => Ok(()),
        }
    }

    fn all(&self) -> [(&'static str, &String); 3] {
        [
            ("cluster.tls.ca", &self.ca),
            ("cluster.tls.cert", &self.cert),
            ("cluster.tls.key", &self.key),
        ]
    }
}

impl Config {
    /// Reads the files, if this node is one of a cluster that has them.
    ///
    /// # Errors
    ///
    /// Which of them is none of this node, and why.
    pub fn credentials(&self, tiers: Tiers) -> Result<Option<Arc<Credentials>>, Problem> {
        let tls = &self.cluster.tls;
        if !self.is_clustered() || !tls.is_given() {
            return Ok(None);
        }
        let files = Files {
            ca: PathBuf::from(&tls.ca),
            certificate: PathBuf::from(&tls.cert),
            key: PathBuf::from(&tls.key),
        };
        let roles = [
            tiers.control.then_some(Role::Control),
            tiers.gateway.then_some(Role::Gateway),
            tiers.bridge.then_some(Role::Bridge),
        ];
        let roles = Roles::from_iter(roles.into_iter().flatten());
        let loaded = Credentials::load(files.clone(), &self.node_name, roles);
        let loaded = loaded.map_err(|error| {
            let key = match error.file() {
                file if file == files.ca => "cluster.tls.ca",
                file if file == files.key => "cluster.tls.key",
                _ => "cluster.tls.cert",
            };
            Problem::new(key, error.to_string())
        })?;
        Ok(Some(Arc::new(loaded)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_files_or_none() {
        assert_eq!(NodeTls::default().check(), Ok(()));
        assert_eq!(NodeTls::example().check(), Ok(()));
        for (key, empty) in [
            ("cluster.tls.ca", |tls: &mut NodeTls| &mut tls.ca),
            ("cluster.tls.cert", |tls: &mut NodeTls| &mut tls.cert),
            ("cluster.tls.key", |tls: &mut NodeTls| &mut tls.key),
        ] as [(&str, fn(&mut NodeTls) -> &mut String); 3]
        {
            let mut tls = NodeTls::example();
            empty(&mut tls).clear();
            assert_eq!(tls.check().expect_err(key).key, key);
        }
    }
}
