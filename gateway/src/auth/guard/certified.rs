//! Lets in who shows a certificate with its user name.
//!
//! The certificate says who it is, and the sources what that means: one that knows the user may not
//! let it in, or not with this client id, and rules are asked for its name as for any other. A user
//! that no source knows has what the rules give to its name.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::time::Instant;

use super::{Denied, For, Guard};
use crate::auth::metrics::Outcome;
use crate::auth::{Admission, By, Identity, Rights};
use crate::proto::mqtt::Reason;

const NOT_LET_IN: Denied = Denied {
    reason: Reason::NotAuthorized,
    why: "the user of the certificate is not let in, or not with this client identifier",
};

impl Guard {
    /// Lets in the client whose user name its certificate has, or not.
    pub(crate) async fn certify(
        &self,
        client_id: &str,
        username: &str,
        address: Option<IpAddr>,
    ) -> Result<Arc<Rights>, Denied> {
        let _place = self.place(address)?;
        let identity = Identity {
            username: Some(username.into()),
            address,
            ..Identity::default()
        };
        self.vouch(client_id, identity, For::Newcomer).await
    }

    /// What the user may do whose name an identity has, if no source is against it.
    pub(super) async fn vouch(
        &self,
        client_id: &str,
        mut identity: Identity,
        why: For,
    ) -> Result<Arc<Rights>, Denied> {
        let username = identity.username.clone().unwrap_or_default();
        identity.by = By::Certificate;
        let mut is_superuser = false;
        for (place, asked) in self.sources.iter().enumerate() {
            let began = Instant::now();
            let asking = asked.source.vouch(client_id, &username);
            let answer = asked.ask(why, asking).await;
            if why == For::Newcomer {
                let source = (place, asked.kind);
                self.metrics.time(source, began.elapsed());
                self.metrics.count(source, Outcome::of(&answer));
            }
            match answer? {
                Admission::Allowed(known) => {
                    is_superuser = known.is_superuser;
                    break;
                }
                Admission::Denied => return Err(NOT_LET_IN),
                Admission::Unknown => {}
            }
        }
        self.rights(client_id, identity, is_superuser, why).await
    }
}
