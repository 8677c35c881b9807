//! What a client's certificate says of who it is.

/// How the user name of a client is in its certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientName {
    /// Where it is.
    pub by: NamedBy,
    /// Whether it has to be the client id, too.
    pub is_client_id: bool,
    /// Whether the client has to give the password of that user as well.
    pub needs_password: bool,
}

/// The part of a certificate that is a user name. A whole subject is not among them: what is one text
/// to its issuer is another one to who compares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedBy {
    /// The common name of its subject.
    CommonName,
    /// The DNS name among its alternative names.
    Dns,
    /// The URI among them.
    Uri,
    /// The e-mail address among them.
    Email,
}
