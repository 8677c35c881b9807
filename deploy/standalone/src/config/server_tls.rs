//! `tls` of a server that this process asks: whether there is TLS on the way to it, whom to believe,
//! and what it is shown.

use gatemq_gateway::config as gateway;
use serde::{Deserialize, Serialize};

/// The section. There is no way not to verify the server: its authority can always be named.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[expect(missing_docs, reason = "deploy/config/gatemq.yml explains each key")]
pub struct ServerTls {
    pub enable: bool,
    pub ca: String,
    pub cert: String,
    pub key: String,
}

impl ServerTls {
    /// What the gateway is told, or which key is wrong.
    pub(super) fn to_gateway(
        &self,
    ) -> Result<Option<gateway::ClientTls>, (&'static str, &'static str)> {
        let path = |text: &String| (!text.is_empty()).then(|| text.into());
        let tls = gateway::ClientTls {
            ca: path(&self.ca),
            shown: match (path(&self.cert), path(&self.key)) {
                (Some(certificate), Some(key)) => Some((certificate, key)),
                (None, None) => None,
                (None, Some(_)) => return Err(("tls.cert", "is missing: it goes with the key")),
                (Some(_), None) => return Err(("tls.key", "is missing: it goes with cert")),
            },
        };
        if !self.enable && tls != gateway::ClientTls::default() {
            // Whoever names files believes that there is TLS.
            let what = "is false, and files of it are named: set it to true, or leave them out";
            return Err(("tls.enable", what));
        }
        Ok(self.enable.then_some(tls))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_go_together_and_with_tls() {
        let of = |enable, ca: &str, cert: &str, key: &str| {
            let [ca, cert, key] = [ca, cert, key].map(str::to_owned);
            let tls = ServerTls {
                enable,
                ca,
                cert,
                key,
            }
            .to_gateway();
            tls.map(|tls| tls.map(|tls| (tls.ca.is_some(), tls.shown.is_some())))
                .map_err(|(key, _)| key)
        };
        assert_eq!(of(false, "", "", ""), Ok(None));
        assert_eq!(of(true, "", "", ""), Ok(Some((false, false))));
        assert_eq!(of(true, "a", "", ""), Ok(Some((true, false))));
        assert_eq!(of(true, "a", "b", "c"), Ok(Some((true, true))));
        assert_eq!(of(true, "a", "b", ""), Err("tls.key"));
        assert_eq!(of(true, "", "", "c"), Err("tls.cert"));
        assert_eq!(of(false, "a", "", ""), Err("tls.enable"));
        assert_eq!(of(false, "", "b", "c"), Err("tls.enable"));
    }
}
