//! SCRAM (RFC 5802 and 7677), the server's side: a client proves that it knows a password without
//! telling it, and learns that the server knows the user. Pure.
//!
//! ```text
//! client   n,,n=ann,r=NONCE                          First::read
//! server   r=NONCE+MORE,s=SALT,i=ROUNDS              Exchange::begin
//! client   c=biws,r=NONCE+MORE,p=PROOF               Exchange::finish
//! server   v=SIGNATURE
//! ```
//!
//! There is no channel binding: a client that insists on it is refused, one that could do it is not.

use base64::engine::Engine;
use base64::engine::general_purpose::STANDARD;

use super::password::scram::Secret;

/// The longest message that is read, in bytes.
const LONGEST: usize = 4096;
const LONGEST_NONCE: usize = 512;
/// Random bytes that the server adds to a nonce.
const NEW_NONCE: usize = 18;

/// Why an exchange does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// The message is none of SCRAM, or has what is not taken.
    Message(&'static str),
    /// The client does not know the password.
    Wrong,
}

/// A client's first message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct First<'a> {
    /// `n,,` or `y,,`.
    header: &'a str,
    bare: &'a str,
    nonce: &'a str,
    pub(crate) username: String,
}

/// An exchange in which the client has the next word.
#[derive(Debug)]
pub(crate) struct Exchange {
    secret: Secret,
    header: String,
    nonce: String,
    /// What was said, as far as both sign it.
    said: String,
}

// === impl First ===

impl<'a> First<'a> {
    pub(crate) fn read(message: &'a [u8]) -> Result<Self, Flaw> {
        const FORM: Flaw = Flaw::Message("the first message is none of SCRAM");
        let message = text(message).ok_or(FORM)?;
        let (flag, rest) = message.split_once(',').ok_or(FORM)?;
        let (for_whom, bare) = rest.split_once(',').ok_or(FORM)?;
        match flag {
            "n" | "y" => {}
            _ if flag.starts_with("p=") => {
                return Err(Flaw::Message("there is no channel binding here"));
            }
            _ => return Err(FORM),
        }
        if !for_whom.is_empty() {
            return Err(Flaw::Message("nobody logs in for somebody else"));
        }
        let header = &message[..message.len() - bare.len()];
        let mut attributes = bare.split(',');
        let name = attributes.next().unwrap_or_default();
        if name.starts_with("m=") {
            return Err(Flaw::Message("an extension that is not known"));
        }
        let name = name.strip_prefix("n=").ok_or(FORM)?;
        let nonce = attributes.next().and_then(|it| it.strip_prefix("r="));
        let nonce = nonce.filter(|nonce| is_nonce(nonce)).ok_or(FORM)?;
        if !attributes.all(is_extension) {
            return Err(FORM);
        }
        Ok(Self {
            header,
            bare,
            nonce,
            username: username(name).ok_or(Flaw::Message("the user name cannot be one"))?,
        })
    }
}

// === impl Exchange ===

impl Exchange {
    /// Returns the server's first message, too. `random` is what nobody can foresee.
    pub(crate) fn begin(
        first: &First<'_>,
        secret: Secret,
        random: [u8; NEW_NONCE],
    ) -> (Self, String) {
        let nonce = format!("{}{}", first.nonce, STANDARD.encode(random));
        let (salt, rounds) = secret.salt_and_rounds();
        let answer = format!("r={nonce},s={},i={rounds}", STANDARD.encode(salt));
        let exchange = Self {
            said: format!("{},{answer}", first.bare),
            header: STANDARD.encode(first.header),
            secret,
            nonce,
        };
        (exchange, answer)
    }

    /// Takes the client's last message and returns the server's, which shows that it knows the
    /// user.
    pub(crate) fn finish(self, message: &[u8]) -> Result<String, Flaw> {
        const FORM: Flaw = Flaw::Message("the last message is none of SCRAM");
        let message = text(message).ok_or(FORM)?;
        let (said, proof) = message.rsplit_once(",p=").ok_or(FORM)?;
        let proof = STANDARD.decode(proof).map_err(|_| FORM)?;
        let mut attributes = said.split(',');
        let header = attributes.next().and_then(|it| it.strip_prefix("c="));
        let nonce = attributes.next().and_then(|it| it.strip_prefix("r="));
        if header.ok_or(FORM)? != self.header || !attributes.all(is_extension) {
            return Err(FORM);
        }
        if nonce.ok_or(FORM)? != self.nonce {
            return Err(Flaw::Wrong);
        }
        let exchange = format!("{},{said}", self.said);
        let signature = self.secret.verify(exchange.as_bytes(), &proof);
        let signature = signature.ok_or(Flaw::Wrong)?;
        Ok(format!("v={}", STANDARD.encode(signature)))
    }
}

/// What makes a nonce one of its own.
pub(crate) fn random() -> [u8; NEW_NONCE] {
    let mut random = [0; NEW_NONCE];
    getrandom::fill(&mut random).expect("the system has had random bytes since it started");
    random
}

fn text(message: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(message).ok()?;
    (text.len() <= LONGEST && !text.contains('\0')).then_some(text)
}

/// What may be in it but for a comma, which parts attributes.
fn is_nonce(text: &str) -> bool {
    let is_printable = text.bytes().all(|byte| byte.is_ascii_graphic());
    is_printable && (1..=LONGEST_NONCE).contains(&text.len())
}

/// Whether an attribute may be passed over: `m=` says of itself that it may not.
fn is_extension(attribute: &str) -> bool {
    let bytes = attribute.as_bytes();
    matches!(bytes, [name, b'=', _, ..] if name.is_ascii_alphabetic() && !b"mnrpcsive".contains(name))
}

/// A user name as it is written in a message; one that SASLprep does not take is none.
fn username(written: &str) -> Option<String> {
    let mut name = String::new();
    let mut rest = written;
    while let Some((before, after)) = rest.split_once('=') {
        name.push_str(before);
        let (sign, after) = after.split_at_checked(2)?;
        name.push(match sign {
            "2C" => ',',
            "3D" => '=',
            _ => return None,
        });
        rest = after;
    }
    name.push_str(rest);
    let prepared = stringprep::saslprep(&name).ok()?;
    (!prepared.is_empty()).then(|| prepared.into_owned())
}

#[cfg(test)]
mod tests;
