//! Why a command is not done. The texts are what an operator or a log sees.

/// Why a command is not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No cluster has been founded yet.
    #[error("there is no cluster yet")]
    NoCluster,
    /// A second `Found`.
    #[error("the cluster has been founded already")]
    Founded,
    /// A kind of command that has no meaning here.
    #[error("a command without a kind")]
    NoKind,
    /// What the command needs is not in it.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// The name of a node that is there.
    #[error(
        "{name} is a member already (number {number}): if it has lost its data, remove it first, \
         or give this node another name"
    )]
    KnownName {
        /// The name.
        name: String,
        /// The number of the node that has it.
        number: u64,
    },
    /// Nobody would be left.
    #[error("number {0} is the only node of the control plane")]
    LastNode(u64),
    /// No such member.
    #[error("incarnation {0} is not known")]
    Unknown(u64),
    /// The member takes no part any more.
    #[error("incarnation {0} is fenced")]
    Fenced(u64),
    /// The member still takes part.
    #[error("incarnation {0} is not fenced")]
    NotFenced(u64),
    /// Routes that do not follow the last ones: what lies between is not known.
    #[error("routes {number} of incarnation {incarnation} do not follow the last ones, {last}")]
    Gap {
        /// Whose they are.
        incarnation: u64,
        /// Their number.
        number: u64,
        /// The number of the last ones.
        last: u64,
    },
    /// Sessions that the other gateways would not see.
    #[error(
        "its sessions are in another store than those of the cluster's other gateways (its own: \
         {own}, theirs: {agreed}): set storage.way and redis as they have it"
    )]
    OtherStore {
        /// What the gateway says.
        own: String,
        /// What the cluster has.
        agreed: String,
    },
    /// A value that is too long.
    #[error("the value of {key} has {length} bytes, more than {most}")]
    TooLong {
        /// The key of the configuration.
        key: String,
        /// How long it is.
        length: usize,
        /// How long it may be.
        most: usize,
    },
    /// A ban that cannot be one.
    #[error("the ban's {field} {what}")]
    BadBan {
        /// Which of its fields is wrong.
        field: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// No room for another one.
    #[error("there are {0} bans, and no more may be: take some back, or ban an address prefix")]
    TooManyBans(usize),
    /// A trace that cannot be one.
    #[error("the trace's {field} {what}")]
    BadTrace {
        /// Which of its fields is wrong.
        field: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// No room for another one.
    #[error("there are {0} traces, and no more may be: take one back")]
    TooManyTraces(usize),
}
