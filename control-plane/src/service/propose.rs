//! A change on its way to the leader.
//!
//! What is answered says how sure it is. `unavailable`: it was not done, try again. `unknown`:
//! nobody knows whether it was done or will be; a command that is proposed again must be one that
//! changes nothing the second time.

use gatemq_proto::cluster::control::ProposeRequest;
use gatemq_proto::cluster::prost::Message;
use gatemq_proto::cluster::state::{Command, Outcome, Register, Role, command};
use tokio::time::timeout;
use tonic::{Code, Status};

use super::replica::{Holder, Leadership, ProposeError, Replica, View};
use super::{MAX_COMMAND, Shared};

impl<R: Replica> Shared<R> {
    pub(super) async fn propose(&self, command: Command, n_hops: u32) -> Result<Outcome, Status> {
        let n_bytes = command.encoded_len();
        if command.kind.is_none() || n_bytes > MAX_COMMAND {
            return Err(Status::invalid_argument(format!(
                "a command of {n_bytes} bytes of {MAX_COMMAND} at most, or of a kind that this \
                 node does not know"
            )));
        }
        let leadership = self.replica.leadership().borrow().clone();
        let outcome = timeout(self.config.propose_within, async {
            match leadership {
                Leadership::Following { address, .. } if n_hops == 0 => {
                    self.pass_on(&address, command).await
                }
                Leadership::Following { leader, .. } => Err(Status::unavailable(format!(
                    "this node does not lead, node {leader} does: try again"
                ))),
                Leadership::Leading { .. } | Leadership::Unknown => self.enter(command).await,
            }
        });
        outcome
            .await
            .unwrap_or_else(|_| Err(undecided("no answer in time")))
    }

    fn holder(&self, register: &Register) -> Option<Holder> {
        let view = self.replica.view();
        view.holder(&register.name, register.role(), register.token)
    }

    async fn enter(&self, command: Command) -> Result<Outcome, Status> {
        if let Some(command::Kind::Register(register)) = &command.kind
            && let Some(holder) = self.holder(register)
            && self.desk.counts(holder.incarnation)
        {
            // It would fence one that is there. One that was started again has to wait only
            // until the lease of its last run is over.
            return Ok(Outcome {
                index: 0,
                refused: format!(
                    "the name {} is that of a {} that is running, at {}: two nodes need two names",
                    register.name,
                    match register.role() {
                        Role::Bridge => "bridge",
                        _ => "gateway",
                    },
                    holder.address
                ),
            });
        }
        self.replica
            .propose(command)
            .await
            .map_err(|error| match error {
                ProposeError::NotLeader => {
                    Status::unavailable("no leader is known to this node: try again")
                }
                ProposeError::Undecided(why) => undecided(&why),
            })
    }

    async fn pass_on(&self, address: &str, command: Command) -> Result<Outcome, Status> {
        let mut client = self.roads.client(address)?;
        let request = ProposeRequest {
            cluster_id: self.replica.view().cluster_id(),
            command: Some(command),
            n_hops: 1,
        };
        let answer = client.propose(request).await;
        answer.map(tonic::Response::into_inner).map_err(|status| {
            // What the leader said itself has no source; without a connection nothing was sent.
            match std::error::Error::source(&status) {
                None => status,
                Some(_) if is_unsent(&status) => {
                    Status::unavailable("the leader cannot be reached: try again")
                }
                Some(_) => undecided(status.message()),
            }
        })
    }
}

fn undecided(why: &str) -> Status {
    let text = format!("nobody knows whether it was done or will be: {why}");
    Status::new(Code::Unknown, text)
}

/// Whether it failed before there was a connection to send it by.
fn is_unsent(status: &Status) -> bool {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}
